//! What does a person read who presses Ctrl-C during a long run?

/// Exit code of a program that was interrupted: 128 + SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

/// From now on an interrupted or terminated run says how it can go on. What it has finished is on disk at every moment.
pub fn say_how_to_resume() {
    let handler = || {
        eprintln!("\nstopped: what is finished is kept; the same command with --resume goes on from there");
        std::process::exit(INTERRUPTED);
    };
    // Without a handler the program stops as well, only silently.
    let _ = ctrlc::set_handler(handler);
}
