//! Programs on real mounts: each scenario on the local store and on S3, with passthrough and without.

mod append;
mod attributes;
mod borders;
mod close;
mod control;
mod copies;
mod crash;
mod disks;
mod doors;
mod durability;
mod ended;
mod full;
mod keys;
mod life;
mod machines;
mod many;
mod metadata;
mod model;
mod posix;
mod programs;
mod quota;
mod refused;
mod replay;
mod restore;
mod run;
mod scratch;
mod seal;
mod shared;
mod stuck;
mod supervised;
mod torn;
mod tree;
mod types;
mod watch;
mod writers;

/// One test a configuration for each scenario, a `fn(&TestMount)` on a mounted session `s1`. `every version:` before them:
/// also where one program saves twice within the version window.
macro_rules! on_every_mount {
    (every version: $($scenario:ident),+ $(,)?) => {
        $crate::mount::on_every_mount!(@ &["--version-window", "off"]; $($scenario),+);
    };
    ($($scenario:ident),+ $(,)?) => { $crate::mount::on_every_mount!(@ &[]; $($scenario),+); };
    (@ $args:expr; $($scenario:ident),+) => { $(
        mod $scenario {
            use crate::support::{MountOptions, Store, TestMount};
            fn options() -> MountOptions { MountOptions::new().session("s1").args($args) }
            #[test]
            fn local() { super::$scenario(&TestMount::with(Store::Local, options())); }
            #[test]
            fn local_without_passthrough() { super::$scenario(&TestMount::with(Store::Local, options().no_passthrough())); }
            #[test]
            fn s3() { super::$scenario(&TestMount::with(Store::S3, options())); }
            #[test]
            fn s3_durability_local() { super::$scenario(&TestMount::with(Store::S3, options().durability_local())); }
        }
    )+ };
}
pub(crate) use on_every_mount;
