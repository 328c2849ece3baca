//! Why a test failed, said when it does: the harness keeps it for the end, which a run that is cut short never reaches.

use std::io::Write;
use std::sync::Once;

/// From now on each panic writes one line to the real standard error, beside what the harness collects.
pub fn are_said_at_once() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let harness = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let place = info.location().map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
            let why = info.payload_as_str().unwrap_or("?");
            let line = format!(
                "!! {} at {place}: {}\n",
                thread.name().unwrap_or("?"),
                why.chars().take(2_000).collect::<String>()
            );
            // (`eprint!` would go to the harness.)
            // A tester who closed it still has what the harness says.
            std::io::stderr().write_all(line.as_bytes()).ok();
            harness(info);
        }));
    });
}
