//! Real servers and agents as processes, on hosts in network namespaces: the dead man's test, and the bench of a large fleet.
//!
//! One program in several parts: `serve` (a fleet over SQLite, asked over standard input), `agent`, `agents` (many in one process),
//! `watchdog`; without arguments the tests, and beside them `points N`, `malformed N` and `bench AGENTS…`.

#![expect(clippy::print_stdout, reason = "a program of tests tells its runner, and a bench its table")]

mod bench;
mod dead_man;
mod joining;
mod malformed;
mod parts;
mod process;

use std::process::ExitCode;

/// The tests: name and body. They take minutes together, and run in parallel with those of other programs.
const TESTS: &[(&str, fn())] = &[
    ("no_fault_outlives_its_lease_at_random_points_of_runs", dead_man::a_point_of_each),
    ("an_agent_joins_once_and_refuses_another_server", joining::join_and_refuse),
    ("an_agent_renews_its_certificate_long_before_its_end", joining::renewal),
    ("an_agent_can_know_its_server_by_an_authority_of_the_system", joining::system_authority),
    ("a_host_puts_back_at_the_red_button_and_takes_nothing_while_blocked", joining::red_button),
    ("malformed_frames_leave_the_server_running", || malformed::strangers_and_agents(1_000)),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", rest @ ..] => parts::serve(rest),
        ["agent", rest @ ..] => parts::agent(rest),
        ["agents", rest @ ..] => parts::agents(rest),
        ["watchdog", "--run-dir", directory] => parts::watchdog(directory),
        ["points", count] => dead_man::points(count.parse().expect("a number of points"), 4),
        ["malformed", count] => malformed::strangers_and_agents(count.parse().expect("a number of frames")),
        ["bench", sizes @ ..] => bench::run(&sizes.iter().map(|size| size.parse().expect("a number of agents")).collect::<Vec<_>>()),
        _ => return as_tests(&words),
    }
    ExitCode::SUCCESS
}

/// What a test runner asks of a program of tests.
fn as_tests(words: &[&str]) -> ExitCode {
    if words.contains(&"--list") {
        if !words.contains(&"--ignored") {
            for (name, _) in TESTS {
                println!("{name}: test");
            }
        }
        return ExitCode::SUCCESS;
    }
    let exact = words.contains(&"--exact");
    let wanted = words.iter().find(|word| !word.starts_with('-')).copied().unwrap_or_default();
    for (name, test) in TESTS {
        if if exact { *name == wanted } else { name.contains(wanted) } {
            println!("test {name}");
            test();
        }
    }
    ExitCode::SUCCESS
}
