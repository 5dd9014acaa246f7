//! Tests of planner, engine and recovery on the fake cloud.

mod conformance;
mod crash;
mod deploy;
mod failure;
mod plan;
mod properties;
mod specs;
