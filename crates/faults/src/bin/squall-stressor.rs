//! The stressor alone, for this crate's tests: what `squall stressor` is in the real binary.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    squall_faults::stressor::run(std::env::args_os().skip(2))
}
