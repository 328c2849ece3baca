//! The contract of `outputfs::catalog::Catalog`. Each test takes a [`World`] and knows no implementation; `suite!`
//! runs all of them on one.

mod borders;
mod bytes;
mod changes;
mod commit;
mod crash;
mod labels;
mod life;
mod links;
mod model;
mod queries;
mod recovery;
mod rename;
mod seal;
mod shared;
mod tree;
mod versions;
mod world;

use world::World;

/// Runs every test of the contract on the worlds that `$world` makes.
macro_rules! suite {
    ($name:ident, $world:expr, $($file:ident { $($test:ident)* })*) => {
        mod $name {
            $(mod $file {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let world = $world.await;
                    super::super::$file::$test(&world).await;
                    world.check().await;
                })*
            })*
        }
    };
}

/// The contract, whole, on one world.
macro_rules! whole {
    ($name:ident, $world:expr) => { suite! { $name, $world,
    tree {
        a_tenant_is_made_once a_session_is_a_directory_of_the_root names_that_are_refused kinds_of_nodes
        link_counts_and_times listing_resumes_after_a_cookie unlink_and_its_errors rmdir_and_its_errors
        a_session_that_held_artifacts_goes_into_the_trash hard_links attributes_change_alone places_and_paths numbers_are_never_given_twice
    }
    rename {
        a_file_keeps_its_id_and_gets_a_version_of_its_new_path a_replaced_file_is_an_earlier_version errors_of_rename
        two_names_of_one_file no_replace_and_exchange a_directory_takes_its_history_along a_directory_replaces_an_empty_one
    }
    commit {
        a_first_commit_makes_a_file the_same_bytes_change_nothing other_bytes_are_a_new_version
        versions_of_one_handle_collapse a_linked_version_does_not_collapse a_birth_onto_a_name_of_another_mount
        commits_to_impossible_places a_deleted_file_cannot_be_committed a_lost_answer_is_given_again idempotency_keys
        quotas expired_files_do_not_exist names_of_deleted_files_keep_counting
    }
    labels {
        sources_win_in_their_order explicit_labels_stay_with_later_versions changes_of_a_file defaults_of_directories
        must_exist_and_must_not a_lifetime_counts_from_its_change
    }
    bytes {
        a_known_blob_must_be_there a_provisional_blob_is_no_target settling_ends_all_places
        the_last_copy_is_not_forgotten pending_counts_what_is_not_stored
    }
    seal { nothing_changes_after_a_seal pending_bytes_hold_a_seal_up the_manifest_is_the_one_of_the_seal expiry_may_only_grow }
    links { links_are_found_listed_and_revoked }
    life {
        sweeping_ends_what_is_due_and_nothing_else the_trash_knows_who_and_gives_back_under_another_name
        age_spares_what_is_linked_live_or_sealed condemned_blobs_are_rescued_by_every_kind_of_commit
        nobody_uses_a_blob_that_is_being_deleted a_walk_over_all_blobs_finds_what_nothing_needs
        bytes_on_their_way_hold_a_sweep_up_and_dead_directories_go
    }
    recovery { found_bytes_go_to_the_trash restore_from_trash_and_versions restore_revives_directories }
    borders { a_tree_comes_whole_or_not_at_all a_tree_goes_to_the_trash_at_once a_guessed_type_follows_the_name }
    queries { find_narrows_and_pages find_by_path sessions_and_usage versions_of_a_path }
    changes { others_hear_and_the_maker_does_not a_waiter_wakes_in_time }
    shared { two_handles_see_each_other eight_committers_at_once sealing_races_with_commits two_processes_make_one_tenant
        reads_of_one_row_answer_at_the_first_poll }
    model { the_tree_behaves_as_its_model }
} };
}

/// What worlds with rules for earlier versions do.
macro_rules! thrifty {
    ($name:ident, $world:expr) => {
        suite! { $name, $world,
            versions {
                one_writer_s_versions_within_the_window_are_one the_window_does_not_slide another_writer_s_versions_stay
                what_is_held_on_to_is_not_replaced freed_staging_files_are_told a_path_keeps_its_newest
                what_somebody_was_told_of_is_not_replaced the_same_bytes_with_other_labels_are_the_same_artifact
                pinned_versions_stay_besides a_rename_prunes_too a_kept_blob_is_shared
            }
        }
    };
}

whole! { sqlite, crate::contract::catalog::World::sqlite() }
whole! { postgres, crate::contract::catalog::World::postgres() }
thrifty! { sqlite_thrifty, crate::contract::catalog::World::sqlite_thrifty() }
thrifty! { postgres_thrifty, crate::contract::catalog::World::postgres_thrifty() }
