//! An endpoint picker for Envoy and the gateways that are built on it: the external processor of the Gateway API Inference
//! Extension (endpoint picker protocol 1.0).
//!
//! The gateway carries the requests. For each it opens a stream of `envoy.service.ext_proc.v3.ExternalProcessor`, sends what the
//! client sent, and gets the endpoints to try; then it sends what the worker answers. The worker is chosen by a
//! [`router_proxy::RoutingService`], so that policies, limits, records and metrics are those of the router.
//!
//! ```text
//! server                    the port: connections of gateways
//!   services                which service takes which call
//!     health                grpc.health.v1
//!     exchange              one request and its response
//!       request_side        from the client's head to the endpoints
//!       response_side       what is learned of the response
//!       answers             the messages to the gateway
//!       destination         endpoints, and the subset that a gateway allows
//!   picker_state            what all requests share
//!   messages                the messages of the services
//! ```

mod answers;
mod destination;
mod exchange;
mod health;
mod messages;
mod picker_state;
mod request_side;
mod response_side;
mod server;
mod services;

pub use server::{Picker, PickerConfig, PickerError};
