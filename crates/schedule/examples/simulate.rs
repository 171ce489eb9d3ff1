//! How often a monkey strikes, beside how often it was asked to: `cargo run --release -p squall-schedule --example simulate`.
//! Each row is 10,000 work weeks of 16 groups, decided day by day as a server does.

#[path = "../tests/it/simulation.rs"]
mod simulation;

#[expect(clippy::print_stdout, reason = "it is a program whose result is a table")]
fn main() {
    println!("{:<22} {:<20} {:<12}", "asked", "zone", "hours");
    for case in simulation::cases() {
        let found = simulation::run(&case, 16, 10_000);
        let (least, most) = (found.twelfths.iter().min().unwrap_or(&0), found.twelfths.iter().max().unwrap_or(&0));
        println!("{:<22} {:<20} {}-{}", case.name(), case.zone, case.hours.0, case.hours.1);
        println!(
            "    {} weeks, {} kills, mean {:.4} work days: {:+.2}% (farthest single group {:+.2}%)",
            found.weeks,
            found.kills,
            found.mean,
            found.deviation * 100.0,
            found.worst_group * 100.0
        );
        println!(
            "    below the minimum {}, outside hours {}, on days off {}; {} on days on which the clock changed; twelfths of the hours {least} to {most}",
            found.below_minimum, found.outside_hours, found.on_days_off, found.on_changes
        );
    }
}
