//! Which requests of a service, or which points in its code.

use squall_engine::ArgError;

/// What both faults ask of the lists that choose requests.
pub(super) struct Requests<'a> {
    pub paths: &'a [String],
    pub methods: &'a [String],
    pub points: &'a [String],
}

impl Requests<'_> {
    pub(super) fn check(&self) -> Vec<ArgError> {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, message: String, hint: &str| errors.push(ArgError::field(field, message, Some(hint.to_owned())));
        if let Some(path) = self.paths.iter().find(|path| !path.starts_with(['/', '*'])) {
            wrong("paths", format!("`{path}` is not a path"), "write it from its root, such as `/cart` or `/api/*`");
        }
        let token = |method: &String| !method.is_empty() && method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
        if let Some(method) = self.methods.iter().find(|method| !token(method)) {
            wrong("methods", format!("`{method}` is not a method"), "write methods such as `GET` or `POST`");
        }
        if self.points.iter().any(String::is_empty) {
            wrong("points", "a point without a name".into(), "write the name that the code gives it: `faults.point(\"charge-card\")`");
        }
        let chosen = !self.paths.is_empty() || !self.methods.is_empty();
        if chosen && !self.points.is_empty() {
            wrong("points", "a point in the code has no path and no method".into(), "write `points`, or `paths` and `methods`");
        }
        errors
    }

    /// In words: `GET requests to /cart, /api/*`.
    pub(super) fn describe(&self) -> String {
        if !self.points.is_empty() {
            return format!("what the code does at {}", self.points.join(", "));
        }
        let methods = if self.methods.is_empty() { "requests".to_owned() } else { format!("{} requests", self.methods.join(", ")) };
        if self.paths.is_empty() { methods } else { format!("{methods} to {}", self.paths.join(", ")) }
    }
}
