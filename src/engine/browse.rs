//! A session as people look through it: by words, and by what there is to choose from.

use std::collections::BTreeMap;

use crate::artifact::Result;
use crate::artifact::ids::SessionId;
use crate::artifact::name::display_bytes;
use crate::artifact::query::{Page, Query};
use crate::artifact::record::Artifact;
use crate::artifact::time::Timestamp;
use crate::engine::store::Store;

/// Artifacts looked at to say what there is to choose from.
const FACETS_FROM: usize = 5000;
/// Values named of one kind.
const FACET_VALUES: usize = 100;
/// Artifacts in one question to the catalog.
const BATCH: u32 = 1000;

/// What a session holds: values with how many artifacts have them, the most frequent first.
#[derive(Clone, Debug, Default)]
pub struct Facets {
    pub types: Vec<(String, u64)>,
    pub agents: Vec<(String, u64)>,
    /// `key=value`.
    pub metadata: Vec<(String, u64)>,
    pub files: u64,
    pub bytes: u64,
    pub last: Option<Timestamp>,
    /// All of the session was looked at; else the newest of it.
    pub complete: bool,
}

impl Store {
    /// One page of `query`, of artifacts whose path, agent or metadata hold all words of `text`, whatever their case.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn browse(&self, query: &Query, text: &str) -> Result<Page> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() {
            return self.find(query).await;
        }
        let wanted = query.limit as usize;
        let mut found = Page::default();
        let mut question = Query { limit: BATCH, ..query.clone() };
        loop {
            let page = self.find(&question).await?;
            for artifact in page.artifacts {
                if !holds(&artifact, &words) {
                    continue;
                }
                if found.artifacts.len() == wanted {
                    found.next = found.artifacts.last().map(|a| (a.created, a.id));
                    return Ok(found);
                }
                found.artifacts.push(artifact);
            }
            match page.next {
                Some(next) => question.after = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// What there is to choose from in a session.
    ///
    /// # Errors
    /// Of the catalog.
    pub async fn facets(&self, session: SessionId) -> Result<Facets> {
        let mut query = Query { session: Some(session), limit: BATCH, ..Query::all(self.tenant.id) };
        let mut facets = Facets::default();
        let (mut types, mut agents, mut metadata) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut seen = 0;
        loop {
            let page = self.find(&query).await?;
            seen += page.artifacts.len();
            for artifact in page.artifacts {
                facets.files += 1;
                facets.bytes += artifact.size;
                facets.last = facets.last.max(Some(artifact.created));
                *types.entry(artifact.content_type).or_insert(0) += 1;
                if let Some(agent) = artifact.agent_id {
                    *agents.entry(agent).or_insert(0) += 1;
                }
                for (key, value) in artifact.metadata.0 {
                    *metadata.entry(format!("{key}={value}")).or_insert(0) += 1;
                }
            }
            match page.next {
                Some(next) if seen < FACETS_FROM => query.after = Some(next),
                next => {
                    facets.complete = next.is_none();
                    break;
                }
            }
        }
        facets.types = most(types);
        facets.agents = most(agents);
        facets.metadata = most(metadata);
        Ok(facets)
    }
}

fn holds(artifact: &Artifact, words: &[String]) -> bool {
    let mut text = display_bytes(&artifact.filename).to_lowercase();
    for more in artifact.agent_id.iter().chain(artifact.metadata.0.values()) {
        text.push('\n');
        text.push_str(&more.to_lowercase());
    }
    words.iter().all(|w| text.contains(w.as_str()))
}

fn most(counts: BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut values: Vec<_> = counts.into_iter().collect();
    values.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    values.truncate(FACET_VALUES);
    values
}
