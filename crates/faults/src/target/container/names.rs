//! The names of containers.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// How long a runtime may take for its list.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Far more than a list of a thousand containers takes.
const LARGEST: u64 = 64 << 20;
/// Where Docker and Podman listen.
const SOCKETS: [&str; 3] = ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"];
/// Where Podman and CRI-O keep their containers (`containers-storage.conf(5)`).
const STORAGE: &str = "/var/lib/containers/storage/overlay-containers/containers.json";
/// Where Docker keeps its containers, one directory each.
const DOCKER: &str = "/var/lib/docker/containers";

/// An entry of `GET /containers/json` (Docker Engine API, `ContainerSummary`). Other fields are not looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// An entry of Podman's storage.
#[derive(Debug, Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// Of Docker's `config.v2.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configured {
    name: String,
}

/// The names of these containers, by id, as far as they can be had. A runtime that does not answer has no names here: whoever
/// asked for one is told that none could be read.
pub(super) fn of(ids: &[&str]) -> HashMap<String, String> {
    let mut names = HashMap::new();
    if ids.is_empty() {
        return names;
    }
    let given = std::env::var("DOCKER_HOST").ok().and_then(|host| Some(PathBuf::from(host.strip_prefix("unix://")?)));
    for socket in given.into_iter().chain(SOCKETS.map(PathBuf::from)) {
        if socket.exists() {
            names.extend(asked(&socket).unwrap_or_default());
        }
    }
    if let Ok(stored) = std::fs::read(STORAGE) {
        let stored: Vec<Stored> = serde_json::from_slice(&stored).unwrap_or_default();
        names.extend(stored.into_iter().filter_map(|c| Some((c.id, c.names.into_iter().next()?))));
    }
    for id in ids {
        if names.contains_key(*id) {
            continue;
        }
        if let Ok(config) = std::fs::read(Path::new(DOCKER).join(id).join("config.v2.json"))
            && let Ok(config) = serde_json::from_slice::<Configured>(&config)
        {
            names.insert((*id).to_owned(), bare(&config.name));
        }
    }
    names.retain(|id, _| ids.contains(&id.as_str()));
    names
}

/// Docker writes names with a slash before them.
fn bare(name: &str) -> String {
    name.trim_start_matches('/').to_owned()
}

/// Asks a runtime. HTTP/1.0, so that the answer ends with the connection and is in one piece.
fn asked(socket: &Path) -> io::Result<HashMap<String, String>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(b"GET /containers/json HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let head =
        answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| wrong("an answer without an end of its head".into()))?;
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if status != b"200" {
        return Err(wrong(format!("status {}", String::from_utf8_lossy(status))));
    }
    let list: Vec<Summary> = serde_json::from_slice(&answer[head + 4..]).map_err(|e| wrong(e.to_string()))?;
    Ok(list.into_iter().filter_map(|c| Some((c.id, bare(c.names.first()?)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A runtime that answers once.
    fn answering(answer: &'static str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("asked");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).expect("a request");
            assert!(request[..length].starts_with(b"GET /containers/json HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).expect("answered");
        });
        (directory, socket)
    }

    #[test]
    fn names_are_read_from_a_runtimes_answer() {
        let (_directory, socket) = answering(
            "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[{\"Id\":\"ab\",\"Names\":[\"/web\"],\"Image\":\"nginx\"}]\n",
        );
        assert_eq!(asked(&socket).expect("a list"), HashMap::from([("ab".to_owned(), "web".to_owned())]));
    }

    #[test]
    fn a_runtime_that_refuses_is_an_error() {
        let (_directory, socket) = answering("HTTP/1.0 403 Forbidden\r\n\r\n[]");
        assert!(asked(&socket).expect_err("refused").to_string().contains("403"));
    }
}
