//! The options of the router as Python keyword arguments: names, types, defaults and documentation.

use crate::registry;
use crate::value::{to_json, to_python};
use clap::Args as _;
use pyo3::exceptions::{PySystemExit, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use router_config::Options;
use serde_json::{Map, Value};
use sgl_router::{LaunchOptions, LaunchOptionsError};
use std::any::TypeId;
use std::ffi::OsString;
use std::path::PathBuf;

/// Options that have no flag, with their meaning.
const WITHOUT_FLAG: [(&str, &str); 1] = [(
    "workers",
    "Workers with settings, each a dictionary with the members of POST /workers: {\"url\": \"...\", \"weight\": 2.0}",
)];

/// One option as Python shows it.
#[derive(IntoPyObject)]
pub(crate) struct OptionField<'py> {
    /// The name of the argument.
    name: String,
    /// Its type, as Python writes it.
    kind: &'static str,
    /// Its default; `None` where the flag has none, and where the environment may name it.
    default: Bound<'py, PyAny>,
    /// What it means.
    doc: String,
    /// Its heading in `--help`.
    heading: String,
    /// Whether its value is secret.
    secret: bool,
}

/// Every option of the router, in the order of `--help`.
#[pyfunction]
pub(crate) fn option_fields(py: Python<'_>) -> PyResult<Vec<OptionField<'_>>> {
    let command = Options::augment_args(clap::Command::new("launch"));
    let Value::Object(defaults) = as_json(&Options::default())? else { return Ok(Vec::new()) };
    let mut fields = Vec::new();
    for arg in command.get_arguments() {
        let name = arg.get_id().as_str();
        let default = defaults.get(name);
        let many = arg.get_num_args().is_some_and(|n| n.max_values() > 1);
        fields.push(OptionField {
            name: name.to_owned(),
            kind: kind(default, arg, many),
            default: match default {
                Some(value) => to_python(py, value)?,
                // Keys are not in the JSON.
                None if many => to_python(py, &Value::Array(Vec::new()))?,
                None => py.None().into_bound(py),
            },
            doc: doc(arg),
            heading: arg.get_help_heading().unwrap_or("Workers").to_owned(),
            secret: default.is_none(),
        });
    }
    for (name, doc) in WITHOUT_FLAG {
        fields.push(OptionField {
            name: name.to_owned(),
            kind: "list[dict[str, Any]]",
            default: to_python(py, &Value::Array(Vec::new()))?,
            doc: doc.to_owned(),
            heading: "Workers".to_owned(),
            secret: false,
        });
    }
    Ok(fields)
}

/// The Python type of an option, by its default, or by the type that its flag is parsed to.
fn kind(default: Option<&Value>, arg: &clap::Arg, many: bool) -> &'static str {
    let parsed = arg.get_value_parser().type_id();
    let is = |types: &[TypeId]| types.iter().any(|known| parsed == *known);
    let real = is(&[TypeId::of::<f64>()]);
    let whole = [TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>(), TypeId::of::<usize>()];
    match default {
        Some(Value::Bool(_)) => "bool",
        Some(Value::Number(number)) if number.is_f64() => "float",
        Some(Value::Number(_)) => "int",
        Some(Value::String(_)) => "str",
        Some(Value::Object(_)) => "dict[str, Any]",
        Some(Value::Array(_)) | None if many => {
            if real {
                "list[float]"
            } else {
                "list[str]"
            }
        }
        _ if real => "Optional[float]",
        _ if is(&whole) => "Optional[int]",
        _ if is(&[TypeId::of::<PathBuf>()]) => "Union[str, os.PathLike[str], None]",
        _ => "Optional[str]",
    }
}

/// The help of a flag in one line, with the values it may have and its variable of the environment.
fn doc(arg: &clap::Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let values: Vec<_> = arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
    if !values.is_empty() && arg.get_action().takes_values() {
        text += &format!(" ({})", values.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        text += &format!(" [env: {}]", variable.to_string_lossy());
    }
    text
}

/// The options that these arguments give. `None` means not given.
///
/// # Errors
/// A `TypeError` or `ValueError` that names the argument.
pub(crate) fn read(arguments: &Bound<'_, PyDict>) -> PyResult<Options> {
    let mut given = Map::new();
    for (name, value) in arguments {
        let name = name.cast_into::<PyString>()?.to_string();
        match to_json(&name, &value)? {
            Value::Null => {}
            value => drop(given.insert(name, value)),
        }
    }
    let error = match serde_json::from_value(Value::Object(given.clone())) {
        Ok(options) => return Ok(options),
        Err(error) => error.to_string(),
    };
    // serde does not say which member is wrong, so each is tried alone.
    let wrong = given.into_iter().find_map(|(name, value)| {
        let alone = Map::from_iter([(name.clone(), value)]);
        let error = serde_json::from_value::<Options>(Value::Object(alone)).err()?.to_string();
        Some(if error.contains(&format!("`{name}`")) { error } else { format!("{name}: {error}") })
    });
    let message = plain(&wrong.unwrap_or(error));
    Err(if message.contains("invalid type") {
        PyTypeError::new_err(message)
    } else {
        PyValueError::new_err(message)
    })
}

/// Replaces the Rust names of types in messages of serde.
fn plain(message: &str) -> String {
    let names = [
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected u64", "expected a whole number from 0"),
        ("expected usize", "expected a whole number from 0"),
        ("expected i64", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("expected a sequence", "expected a list"),
        ("expected path string", "expected a path"),
    ];
    names.iter().fold(message.to_owned(), |text, (rust, plain)| text.replace(rust, plain))
}

/// Checks the types of these arguments.
#[pyfunction]
pub(crate) fn check_options(arguments: &Bound<'_, PyDict>) -> PyResult<()> {
    read(arguments).map(drop)
}

/// Checks all that a router with these arguments needs, except that it has a worker: it may start without one.
#[pyfunction]
pub(crate) fn check_router(py: Python<'_>, arguments: &Bound<'_, PyDict>) -> PyResult<()> {
    let options = Options { start_empty: true, ..read(arguments)? };
    let checked = py.detach(|| options.check(&registry::names()).map(drop));
    checked.map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The arguments of a TOML text; `origin` names it in errors.
#[pyfunction]
#[pyo3(signature = (text, origin))]
pub(crate) fn options_from_toml<'py>(
    py: Python<'py>,
    text: &str,
    origin: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let options = py.detach(|| Options::from_toml(text, origin));
    arguments(py, &options.map_err(|error| PyValueError::new_err(error.to_string()))?)
}

/// Arguments, and a line for each flag without effect.
type ArgumentsAndNotes<'py> = (Bound<'py, PyAny>, Vec<String>);

/// The arguments that flags of `sgl-router launch` give, with those of the file that they may name.
#[pyfunction]
pub(crate) fn options_from_flags(py: Python<'_>, flags: Vec<OsString>) -> PyResult<ArgumentsAndNotes<'_>> {
    match py.detach(|| sgl_router::launch_options(flags)) {
        Ok(LaunchOptions { options, notes }) => Ok((arguments(py, &options)?, notes)),
        Err(LaunchOptionsError::Help) => Err(PySystemExit::new_err(0)),
        Err(LaunchOptionsError::Invalid(line)) => Err(PyValueError::new_err(line)),
    }
}

/// The arguments that are not at their default as a TOML text, without secret keys.
#[pyfunction]
pub(crate) fn options_to_toml(arguments: &Bound<'_, PyDict>) -> PyResult<String> {
    read(arguments)?.to_toml().map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Options as arguments. Keys are added by hand: they are not in the JSON.
fn arguments<'py>(py: Python<'py>, options: &Options) -> PyResult<Bound<'py, PyAny>> {
    let dict = to_python(py, &as_json(options)?)?;
    let keys = [
        ("api_key", &options.api_key),
        ("admin_api_key", &options.admin_api_key),
        ("worker_api_key", &options.worker_api_key),
    ];
    for (name, key) in keys {
        if let Some(key) = key {
            dict.set_item(name, key.expose())?;
        }
    }
    let workers = dict.get_item("workers")?;
    for (position, worker) in options.workers.iter().enumerate() {
        if let Some(key) = &worker.api_key {
            workers.get_item(position)?.set_item("api_key", key.expose())?;
        }
    }
    let more: Vec<_> = options.control_plane_api_keys.iter().map(|key| key.expose()).collect();
    dict.set_item("control_plane_api_keys", more)?;
    Ok(dict)
}

fn as_json(options: &Options) -> PyResult<Value> {
    serde_json::to_value(options).map_err(|error| PyValueError::new_err(error.to_string()))
}
