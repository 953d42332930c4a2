//! Where rows and records are kept. Each backend runs the engine's transactions its own way.

pub mod memory;
pub mod sqlite;
