//! Sessions of the real binary.

mod check_slo;
mod clusters;
mod compared;
mod containers;
mod demo;
mod doctor;
mod field;
mod keeping;
mod library;
mod lockout;
mod manifests;
mod past;
mod proxy;
mod proxy_ca;
mod redirected;
mod runs;
mod signing_in;
mod team;
mod traces;
