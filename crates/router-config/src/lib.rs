//! The configuration of the router: one struct of options, from which the command line, the TOML file and the
//! documentation are derived, and the validated configuration that they become.
//!
//! ```text
//! compat            flags of other routers -> flags of this one
//! options, load     flags and TOML file -> Options
//! config            Options -> Config, section by section:
//!   workers, disaggregation, discovery, admission, retry, breaker, health, security, recording
//! sources           where the value of each option is from
//! change            what a patch or another file changes; change_time: what can change while the router runs
//! checks, error     shared by all of these
//! ```
//!
//! It is plain data: it opens no file but the TOML file, binds no port and starts nothing.
#![allow(
    clippy::cast_precision_loss,
    reason = "counts become f64 only where an option is given in seconds or megabytes"
)]

mod admission;
mod breaker;
mod change;
mod change_time;
mod checks;
pub mod compat;
mod config;
mod connection_mode;
mod disaggregation;
mod discovery;
mod error;
mod file_lines;
mod forwarding;
mod health;
mod health_config;
mod key_source;
mod known_fields;
mod load;
mod logging;
mod metrics_per_worker;
mod model_routing;
mod models;
mod option_defaults;
mod options;
mod otlp_endpoint;
mod own_address;
mod pd_protocol;
mod policy_flags;
mod policy_options;
mod record_config;
mod recording;
mod retry;
mod scaling;
mod secret;
mod security;
mod sources;
mod worker_spec;
mod worker_url;
mod workers;

pub use admission::{AdmissionConfig, ClientTimeouts, Http2Config, LoadPolls};
pub use breaker::BreakerConfig;
pub use change::{ChangeError, FixedOption, OptionChange};
pub use change_time::ChangeTime;
pub use config::{Config, ConfigOrigin, FleetConfig, RequestLimits};
pub use connection_mode::ConnectionMode;
pub use disaggregation::DisaggregationConfig;
pub use discovery::{DiscoveryConfig, ModelSource, PodSelector};
pub use error::ConfigError;
pub use file_lines::line_of;
pub use forwarding::{ForwardedHeaders, ForwardingConfig};
pub use health_config::HealthConfig;
pub use key_source::KeySource;
pub use known_fields::{KnownFields, KnownFieldsError};
pub use logging::{AccessLogConfig, LogFormat, LogLevel};
pub use metrics_per_worker::MetricsPerWorker;
pub use model_routing::ModelRouting;
pub use models::ModelConfig;
pub use options::Options;
pub use otlp_endpoint::{OtlpEndpoint, OtlpEndpointError};
pub use own_address::{OwnAddress, OwnAddressError};
pub use pd_protocol::PdProtocol;
pub use record_config::{RecordConfig, RecordFormat, TraceConfig};
pub use retry::{HedgeAfter, RetryConfig};
pub use secret::Secret;
pub use security::{
    AllowedOrigins, CertificateFiles, Credential, CredentialError, Role, SecurityConfig, WorkerTlsFiles,
};
pub use sources::{Source, SourcedOptions, Sources};
pub use worker_spec::{
    Engine, HealthOverrides, Ranks, WorkerKind, WorkerSpec, WorkerSpecError, WorkerUpdate, bearer,
    not_negative,
};
pub use worker_url::{WorkerUrl, WorkerUrlError};
