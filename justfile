# The front door: `just` lists what there is.
[private]
default:
    @just --list

# Five experiments on a demo shop, in under a minute
demo:
    cargo run --release -- demo

# Everything that CI does: installs what the tests need, then checks and tests
test:
    cargo xtask test

# The checks and the tests alone, without crash matrix and benches
fast:
    cargo xtask test --fast

# Format and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings

# Write the references that come from the code
gen:
    cargo xtask gen

# The console: checks, tests and a drive in a browser; `just console --write` builds what is committed
console *args:
    cargo xtask web {{args}}

# Every bench in full, one after another (about 45 minutes on a quiet machine)
bench:
    cargo xtask reaction
    cargo xtask overhead
    cargo xtask bench-cpu
    cargo bench --package squall-probes

# The fault proxy beside no proxy, HAProxy, Envoy and Toxiproxy (about 30 minutes on a quiet machine)
bench-proxy *args:
    cargo xtask bench-proxy {{args}}

# How exact network faults are, and what they cost the traffic that they are not for (about 10 minutes on a quiet machine)
bench-network *args:
    cargo xtask bench-network {{args}}

# Tests of network faults in a virtual machine that has netem: by default those of the hosts, then of the faults' exactness
vm:
    cargo xtask vm-test
    cargo xtask vm-test --package squall-faults --test accuracy

# How often a monkey strikes over 10,000 work weeks, beside how often it was asked to
simulate-monkey:
    cargo run --release --package squall-schedule --example simulate

# Kill Squall at every point of a run and look at what is left
crash-matrix:
    cargo xtask crash-matrix --points 300

# Ten minutes of fuzzing for one target: manifest, journal, ledger, proxy_{api,body,http,rules,session}
fuzz target seconds="600":
    cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{target}} -- -max_total_time={{seconds}}
