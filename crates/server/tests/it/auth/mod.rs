//! Who may do what, and the record of it.

mod audit;
mod hostile;
mod oidc;
mod oidc_provider;
mod routes;
mod schemathesis;
mod secrets;
mod sessions;
mod tokens;
mod users;
