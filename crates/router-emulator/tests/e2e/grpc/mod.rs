//! The gRPC service, over real HTTP/2 connections on free ports.

mod calls;
mod captures;
mod client;
mod faults;
