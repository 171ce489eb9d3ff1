//! nginx of Debian, in a directory of its own, on Unix sockets.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use squall_proxy::time::now;

const PATIENCE: Duration = Duration::from_secs(20);

/// A page whose length nginx does not know before it is sent.
const PAGE: &str = r#"<!--# echo var="http_x_marker" encoding="none" -->"#;

const LOCATIONS: &str = r#"
add_header X-Echo $http_x_marker always;
location / { return 200 "$http_x_marker"; }
location /empty { return 204; }
location /missing { return 404 "$http_x_marker"; }
location /chunked { ssi on; ssi_types text/plain; try_files /page.txt =500; }
"#;

/// A running nginx, which ends with this.
pub(crate) struct Nginx {
    directory: tempfile::TempDir,
    process: Child,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("page.txt"), PAGE).unwrap();
        std::fs::write(path.join("locations.conf"), LOCATIONS).unwrap();
        let place = path.display();
        let temporary: String =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().map(|name| format!("{name}_temp_path {place}/{name};\n")).collect();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "daemon off; master_process off; {user} pid {place}/pid; error_log {place}/error.log;
            events {{ worker_connections 4096; }}
            http {{
                {temporary}
                types {{ text/plain txt; }}
                default_type text/plain;
                log_format marker '$http_x_marker $request_method $request_uri $status';
                keepalive_requests 1000000;
                root {place};
                server {{ listen unix:{place}/through; access_log {place}/access.log marker; include {place}/locations.conf; }}
                server {{ listen unix:{place}/direct; access_log off; include {place}/locations.conf; }}
            }}"
        );
        std::fs::write(path.join("nginx.conf"), config).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the upstream that the proxy is compared with is a program")]
        let mut command = Command::new("nginx");
        command.arg("-p").arg(path).arg("-c").arg(path.join("nginx.conf")).arg("-e").arg(path.join("error.log"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let nginx = Self { directory, process: process.expect("nginx (of Debian's package `nginx-light`) is needed") };
        let deadline = now() + PATIENCE;
        while UnixStream::connect(nginx.socket("direct")).is_err() {
            assert!(now() < deadline, "nginx does not start: {}", nginx.read("error.log"));
            std::thread::sleep(Duration::from_millis(5));
        }
        nginx
    }

    /// `through` is for the proxy and logged, `direct` is not.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.path().join(name)).unwrap_or_default()).into_owned()
    }

    /// What it was asked, one request a line, once this is so or the patience is over.
    pub(crate) fn log_with(&self, complete: impl Fn(&str) -> bool) -> String {
        let deadline = now() + PATIENCE;
        loop {
            let log = self.read("access.log");
            if complete(&log) || now() > deadline {
                return log;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has one process, which may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
