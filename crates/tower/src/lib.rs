//! A tower layer that obeys the application faults that are set on this host.
#![forbid(unsafe_code)]
