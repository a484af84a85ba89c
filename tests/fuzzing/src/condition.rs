//! No condition and no arguments make it panic, overflow the stack or take more than the budget; what it says is said again.

use policy::cel::{Budget, Value};
use policy::condition::MAX_STEPS;

pub(crate) fn run(input: (&str, &str)) {
    let (text, args) = input;
    let variables = [("args", policy::cel::Type::Dyn)];
    let Ok(expression) = policy::cel::Expression::compile(text, &variables) else { return };
    let args = serde_json::from_str(args).unwrap_or(Value::Null);
    let ask = || expression.holds(std::slice::from_ref(&args), &mut Budget::new(MAX_STEPS));
    assert_eq!(ask(), ask());
}
