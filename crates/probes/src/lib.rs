//! squall-probes
