//! What SGLang says in a status of a body that is not JSON, or that has a wrong type: the words of Python's parser and of
//! pydantic, for the members that a request must have.

use router_grpc::Rpc;
use serde_json::Value;

/// The details of the status.
pub(super) fn details(rpc: Rpc, body: &[u8]) -> String {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => return not_json(body, &error),
    };
    let (request, member) = match rpc {
        Rpc::Complete => ("CompletionRequest", "prompt"),
        _ => ("ChatCompletionRequest", "messages"),
    };
    let (text, kind, input) = match value.get(member) {
        None => ("Field required", "missing", &value),
        Some(given) if given.is_array() || member == "prompt" => {
            return format!("1 validation error for {request}\n{member}\n  Input should be valid");
        }
        Some(given) => ("Input should be a valid list", "list_type", given),
    };
    format!(
        "1 validation error for {request}\n{member}\n  {text} [type={kind}, input_value={input}, input_type={}]\n    \
         For further information visit https://errors.pydantic.dev/2.14/v/{kind}",
        python_type(input)
    )
}

/// Python counts columns from 1 and characters from 0.
fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    let at = if error.is_eof() {
        body.len()
    } else {
        let lines: usize =
            body.split_inclusive(|byte| *byte == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
        lines + error.column().saturating_sub(1)
    };
    let before = body.get(..at).unwrap_or(body);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!("Expecting value: line {line} column {column} (char {at})")
}

fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_is_pythons() {
        for (body, position) in [
            ("{\"model\":", "line 1 column 10 (char 9)"),
            ("{\n \"a\": x}", "line 2 column 7 (char 8)"),
            ("", "line 1 column 1 (char 0)"),
        ] {
            assert_eq!(details(Rpc::ChatComplete, body.as_bytes()), format!("Expecting value: {position}"));
        }
    }
}
