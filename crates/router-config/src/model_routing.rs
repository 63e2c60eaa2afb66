//! When requests go by the model that they name.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// When a request goes by the model that it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ModelRouting {
    /// While the workers serve several models. A fleet of one model gets every request, whatever model it names.
    #[default]
    Auto,
    /// Always: a request for another model than those served is refused.
    On,
    /// Never: all workers count as serving the same model.
    Off,
}
