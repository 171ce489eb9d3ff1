//! Whose faults are obeyed, and what becomes of files that are no faults.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use squall_tower::{Setting, file};

use crate::field::{Field, eventually, failing};

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_everybody_can_write_is_not_obeyed() {
    let field = Field::new("checkout").await;
    std::fs::create_dir(field.directory()).expect("made");
    std::fs::set_permissions(field.directory(), Permissions::from_mode(0o777)).expect("opened to everybody");
    let _held = file::publish(&field.directory(), &failing("squall-r-1", 1.0, 503)).expect("set");
    eventually("it says why", || field.faults.problem().is_some_and(|why| why.contains("can be written by everybody"))).await;
    assert_eq!(field.ask("/cart").await.0, 200);
    // Put right, it is obeyed.
    std::fs::set_permissions(field.directory(), Permissions::from_mode(0o755)).expect("closed");
    eventually("it is taken up", || field.taken("squall-r-1")).await;
    assert_eq!(field.faults.problem(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_fault_or_is_not_locked_is_passed_over() {
    let field = Field::new("checkout").await;
    std::fs::create_dir(field.directory()).expect("made");
    let write = |name: &str, text: &[u8]| {
        // As a fault comes: whole, by its name.
        let path = field.directory().join(format!(".{name}"));
        std::fs::write(&path, text).expect("written");
        std::fs::rename(path, field.directory().join(name)).expect("named");
    };
    let whole = serde_json::to_vec(&failing("squall-r-1", 1.0, 503)).expect("encoded");
    write("unlocked.fault", &whole);
    write("broken.fault", b"{ \"version\": 1");
    write("huge.fault", &vec![b' '; 70_000]);
    write("other.txt", &whole);
    std::os::unix::fs::symlink("/dev/zero", field.directory().join("link.fault")).expect("linked");
    std::fs::create_dir(field.directory().join("directory.fault")).expect("made");
    let _last = field.set(&Setting { paths: vec!["/products".into()], ..failing("squall-r-3", 1.0, 502) }).await;
    let in_force: Vec<String> = field.faults.in_force().into_iter().map(|fault| fault.id).collect();
    assert_eq!(in_force, ["squall-r-3"]);
    assert_eq!((field.ask("/cart").await.0, field.ask("/products").await.0), (200, 502));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_nobody_could_obey_is_not_even_written() {
    let field = Field::new("checkout").await;
    for bad in [failing("../x", 1.0, 503), failing("a", 2.0, 503), failing("a", 1.0, 7), crate::field::fault("a")] {
        let error = file::publish(&field.directory(), &bad).expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
    assert!(!field.directory().exists());
}
