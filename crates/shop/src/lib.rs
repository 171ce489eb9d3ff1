//! squall-shop
