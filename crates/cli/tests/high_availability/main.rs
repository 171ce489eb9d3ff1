//! Two servers over one PostgreSQL, two agents, schedules and runs, while each server is killed again and again at random moments:
//! every time of a schedule comes once, every run ends, no entry of a journal is lost, nothing is left in force.
//!
//! `SQUALL_KILLS` says how often each server is killed, `SQUALL_SEED` at which moments.

#![expect(clippy::disallowed_methods, reason = "the test is on the outside, where time is the machine's own")]

mod check;
mod site;
mod work;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use site::Site;
use work::Work;

/// Kills of each server, unless it is said.
const KILLS: u32 = 3;

fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn servers_that_are_killed_again_and_again_lose_nothing_and_do_nothing_twice() {
    let kills = given("SQUALL_KILLS").and_then(|kills| u32::try_from(kills).ok()).unwrap_or(KILLS);
    let seed = given("SQUALL_SEED").unwrap_or_else(|| jiff::Timestamp::now().as_millisecond().cast_unsigned());
    println!("each server is killed {kills} times; seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let site = Arc::new(Site::open(kills).await);
        let work = Arc::new(Work::new(site.clone(), seed));
        work.begin().await;
        let mut killers = tokio::task::JoinSet::new();
        for server in 0..2 {
            killers.spawn(work::kill(work.clone(), server, kills));
        }
        let mut people = tokio::task::JoinSet::new();
        for person in 0..site::PEOPLE {
            people.spawn(work::start_runs(work.clone(), person));
        }
        while let Some(killer) = killers.join_next().await {
            killer.expect("both servers are up");
        }
        work.over.store(true, Ordering::Relaxed);
        while let Some(person) = people.join_next().await {
            person.expect("nothing unexpected");
        }
        check::stopped_by_the_other_server(&site).await;
        check::all(&work).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    println!("{outcome}");
}
