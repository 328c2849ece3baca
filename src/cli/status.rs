//! `outputfs status`.

use serde_json::json;

use crate::artifact::amount::count;
use crate::cli::Context;
use crate::cli::failure::Outcome;
use crate::cli::output::{Grid, human, printable};
use crate::engine::status::{MountStatus, Status};

pub async fn run(context: &Context) -> Outcome {
    let store = context.open_light().await?;
    let status = store.status().await?;
    context.output.object(&json!(status), || text(&status))?;
    Ok(())
}

fn text(status: &Status) -> String {
    let mut text = format!(
        "state directory  {}\nstore            {}\ntenant           {}\nnot stored yet   {}, {}\n",
        printable(&status.state_dir),
        printable(&status.store),
        status.tenant,
        count(status.pending_artifacts, "artifact"),
        human(status.pending_bytes)
    );
    if status.mounts.is_empty() {
        return text + "no mounts\n";
    }
    let mut grid = Grid::new(&["MOUNT", "SESSION", "PID", "STATE", "WRITING", "NOT STORED YET", "STAGED"], &[2, 4]);
    for m in &status.mounts {
        grid.row([
            m.mountpoint.clone().unwrap_or_else(|| String::from("(a command)")),
            m.session_id.clone().unwrap_or_else(|| String::from("(all)")),
            m.pid.map(|p| p.to_string()).unwrap_or_default(),
            state(m).to_owned(),
            m.report.writing.to_string(),
            format!("{}, {}", m.pending_artifacts, human(m.pending_bytes)),
            format!("{}, {}", m.staged_files, human(m.staged_bytes)),
        ]);
    }
    text.push('\n');
    text.push_str(&grid.render());
    for m in &status.mounts {
        let at = m.mountpoint.as_deref().unwrap_or(&m.mount_id);
        if let Some(f) = &m.report.store_failure {
            text.push_str(&printable(&format!(
                "{at}: the store fails since {} ({} attempts): {}",
                f.since, f.attempts, f.message
            )));
            text.push('\n');
        }
        if let Some(left) = &m.report.left {
            text.push_str(&printable(&format!("{at}: {}", left.sentence())));
            text.push('\n');
        }
        for left in &m.report.recovering {
            text.push_str(&printable(&format!("{at}: not recovered yet, tried again: {left}")));
            text.push('\n');
        }
        for path in &m.report.unsaved {
            text.push_str(&printable(&format!("{at}: closed, not stored, retried: {path}")));
            text.push('\n');
        }
    }
    text
}

fn state(m: &MountStatus) -> &'static str {
    match (m.alive, &m.report.store_failure) {
        (false, _) => "dead",
        (true, Some(_)) => "store fails",
        (true, None) => "alive",
    }
}
