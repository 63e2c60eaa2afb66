//! What all metrics share: constructors that register a metric, label sets, and the text format.

pub(crate) mod family;
pub(crate) mod histogram;
mod joined_page;
pub(crate) mod labels;
mod text_format;

pub use joined_page::JoinedPage;
pub(crate) use text_format::to_text_format;
