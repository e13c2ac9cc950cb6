//! The quant command: results on stdout, everything else on stderr; exit code 2 for refused input, 1 for a fault.

mod args;
mod commands;
mod curve;
mod design;
mod designer;
mod interrupt;
mod json;
mod methods;
mod model;
mod params;
mod plot;
mod progress;
mod source;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A closed pipe (`quant inspect … | head`) ends the program quietly instead of panicking, a full one with a line.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        if text.contains("Broken pipe") {
            std::process::exit(0);
        }
        if let Some(why) = text.strip_prefix("failed printing to stdout: ") {
            eprintln!("error: stdout: {why}");
            std::process::exit(1);
        }
        hook(info);
    }));
    let arguments = args::Arguments::parse();
    match commands::run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Errors of the facade tell their source themselves; a chain would tell it twice.
            let known = error.downcast_ref::<quant::Error>();
            match known {
                Some(known) => eprintln!("error: {known}"),
                None => eprintln!("error: {error:#}"),
            }
            ExitCode::from(if known.is_some_and(quant::Error::is_refused_input) { 2 } else { 1 })
        }
    }
}
