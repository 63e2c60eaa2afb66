//! Python values as JSON and back, for options.

use pyo3::IntoPyObjectExt as _;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

/// Deeper values are refused, so that a value that contains itself cannot exhaust the stack.
const MAX_DEPTH: usize = 16;

/// The value of the argument `name` as JSON. Paths become strings, tuples become lists, and integer-like objects numbers.
///
/// # Errors
/// A `TypeError` or `ValueError` that names the argument.
pub(crate) fn to_json(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
    convert(name, value, MAX_DEPTH)
}

fn convert(name: &str, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(PyValueError::new_err(format!("{name}: is nested too deeply")));
    };
    if value.is_none() {
        Ok(Value::Null)
    } else if let Ok(flag) = value.cast::<PyBool>() {
        Ok(Value::Bool(flag.is_true()))
    } else if let Ok(text) = value.cast::<PyString>() {
        let text = text.extract::<String>();
        text.map(Value::from).map_err(|_| PyValueError::new_err(format!("{name}: is no valid text")))
    } else if let Ok(number) = value.cast::<PyFloat>() {
        let number = Number::from_f64(number.value());
        number
            .map(Value::Number)
            .ok_or_else(|| PyValueError::new_err(format!("{name}: must be a finite number")))
    } else if let Ok(map) = value.cast::<PyDict>() {
        entries(name, map, depth)
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        value.try_iter()?.map(|item| convert(name, &item?, depth)).collect::<PyResult<_>>().map(Value::Array)
    } else {
        other(name, value)
    }
}

fn entries(name: &str, map: &Bound<'_, PyDict>, depth: usize) -> PyResult<Value> {
    let entry = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| match key.extract::<String>() {
        Ok(key) => {
            let value = convert(&format!("{name}[{key:?}]"), &value, depth)?;
            Ok((key, value))
        }
        Err(_) => Err(PyTypeError::new_err(format!("{name}: its keys must be texts, not {}", kind(&key)))),
    };
    map.iter().map(entry).collect::<PyResult<Map<_, _>>>().map(Value::Object)
}

/// Whole numbers of any type, and paths.
fn other(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.hasattr("__index__")? {
        let signed = value.extract::<i64>().map(Value::from);
        return signed.or_else(|_| value.extract::<u64>().map(Value::from)).map_err(|_| {
            PyValueError::new_err(format!("{name}: must be a whole number of at most 64 bits"))
        });
    }
    if value.hasattr("__fspath__")? {
        let path = value.call_method0("__fspath__")?;
        if let Ok(text) = path.extract::<String>() {
            return Ok(Value::from(text));
        }
    }
    Err(PyTypeError::new_err(format!("{name}: cannot be {}", kind(value))))
}

/// What a value is, for messages: `a list` would be nicer than `list`, and wrong half of the time.
fn kind(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "of this type".to_owned(), |name| format!("of type {name}"))
}

/// A JSON value as Python's own.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(flag) => flag.into_bound_py_any(py),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(n), _, _) => n.into_bound_py_any(py),
            (None, Some(n), _) => n.into_bound_py_any(py),
            (None, None, x) => x.into_bound_py_any(py),
        },
        Value::String(text) => text.into_bound_py_any(py),
        Value::Array(items) => {
            let items = items.iter().map(|item| to_python(py, item)).collect::<PyResult<Vec<_>>>()?;
            items.into_bound_py_any(py)
        }
        Value::Object(map) => {
            let dict = PyDict::new(py);
            for (key, value) in map {
                dict.set_item(key, to_python(py, value)?)?;
            }
            dict.into_bound_py_any(py)
        }
    }
}
