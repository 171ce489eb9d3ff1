//! Every fault keeps what is promised of all of them. One test a promise; each goes over the whole table.

mod applications;
mod links;
mod resolving;
mod table;
mod wires;
mod worlds;

use squall_testkit::conformance::{self as bench, Subject};

use table::table;

fn rows() -> Vec<Subject> {
    let all = table();
    for fault in squall_faults::all() {
        let name = fault.meta().name;
        assert!(all.iter().any(|subject| subject.fault.meta().name == name), "{name} is missing in the table of the conformance bench");
    }
    all
}

#[test]
fn planning_changes_nothing() {
    let host = squall_sys::facts();
    for subject in rows() {
        bench::plan_changes_nothing(&subject, &host);
    }
}

#[test]
fn bad_arguments_are_refused_with_a_hint() {
    for subject in rows() {
        bench::bad_arguments_are_refused_with_a_hint(&subject);
    }
}

#[tokio::test]
async fn nothing_is_touched_before_the_undo_is_on_disk() {
    let host = squall_sys::facts();
    for subject in rows() {
        bench::nothing_is_touched_before_the_undo_is_on_disk(&subject, &host).await;
    }
}

#[tokio::test]
async fn each_fault_is_in_force_and_gone_after_each_of_two_reverts() {
    let host = squall_sys::facts();
    for subject in rows() {
        bench::it_is_in_force_and_gone_after_each_of_two_reverts(&subject, &host).await;
    }
}

#[tokio::test]
async fn two_at_once_are_refused_or_composed() {
    let host = squall_sys::facts();
    for subject in rows() {
        bench::two_at_once_are_refused_or_composed(&subject, &host).await;
    }
}

#[tokio::test]
async fn each_fault_is_put_back_by_a_fresh_process_after_kill_9() {
    for subject in rows() {
        bench::it_is_put_back_by_a_fresh_process_after_kill_9(&subject, "conformance::the_child_injects_and_is_killed").await;
    }
}

#[tokio::test]
async fn the_child_injects_and_is_killed() {
    bench::be_the_child(&rows(), &squall_sys::facts()).await;
}
