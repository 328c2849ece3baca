//! The program. Everything is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    // `FAILPOINTS=name=action`: where tests let it crash. Held to the end: its drop would clear them.
    #[cfg(feature = "failpoints")]
    let _points = fail::FailScenario::setup();
    outputfs::daemon::main()
}
