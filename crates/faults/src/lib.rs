//! squall-faults
