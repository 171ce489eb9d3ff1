//! Game days and findings, from their first state to their last.

mod days;
mod findings;
