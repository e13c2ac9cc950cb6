//! Chores of quant: what a developer runs, and what CI runs.

mod bench;
mod bench_checkpoint;
mod bench_devices;
mod bench_peers;
mod check;
mod ci;
mod demo;
mod fuzz;
mod instructions;
mod interop;
mod shell;
mod system;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Chores of quant.", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Ci(ci::Options),
    Test(test::Options),
    Demo(demo::Options),
    Tidy(tidy::Options),
    Bench(bench::Options),
    Instructions(instructions::Options),
    Check(check::Options),
    Mutate(check::MutateOptions),
    Fuzz(fuzz::Options),
    Interop(interop::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Ci(options) => ci::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Tidy(options) => tidy::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Instructions(options) => instructions::run(&options),
        Task::Check(options) => check::run(&options),
        Task::Mutate(options) => check::mutate(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Interop(options) => interop::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_task_says_what_it_does_and_shows_an_example() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        for task in command.get_subcommands_mut().filter(|t| t.get_name() != "help") {
            let help = task.render_long_help().to_string();
            assert!(task.get_about().is_some(), "{} has a description", task.get_name());
            assert!(help.contains("Example: cargo xtask "), "{} shows an example", task.get_name());
        }
    }
}
