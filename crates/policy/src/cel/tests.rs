#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use super::*;
use proptest::prelude::*;

const VARIABLES: [(&str, Type); 2] = [("args", Type::Map), ("tool", Type::String)];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn compiled(text: &str) -> Result<Expression, CompileError> {
    Expression::compile(text, &VARIABLES)
}

fn ask(text: &str, args: &Value, steps: u64) -> Result<bool, Wrong> {
    let expression = compiled(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    expression.holds(&[args.clone(), Value::text("read_file")], &mut Budget::new(steps))
}

#[test]
fn an_expression_means_what_cel_says() {
    let args = json(
        r#"{"path":"/tmp/a é","n":7,"half":0.5,"big":18446744073709551615,"ok":true,"no":null,
            "list":[1,2,3],"names":["a","b"],"package":{"x":{"y":1}},"empty":[]}"#,
    );
    for (text, expected) in [
        ("true", true),
        ("!args.ok || args.n == 7", true),
        ("args.path.startsWith('/tmp/') && !args.path.contains('..')", true),
        ("args.path.endsWith(\"é\") && args.path.size() == 8 && size(args.path) == 8", true),
        ("args.path.matches('^/tmp/[a-z] .$')", true),
        ("args.path.matches('tmp')", true),
        ("matches(args.path, '^tmp')", false),
        (r"'٣'.matches(r'^\d$')", false),
        ("tool == 'read_file' && tool in ['read_file', 'x']", true),
        ("has(args.n) && !has(args.m) && 'n' in args && !('m' in args)", true),
        ("args['n'] == 7 && args.list[2] == 3 && args.package.x['y'] == 1", true),
        ("args.list.all(x, x > 0) && args.list.exists(x, x == 2)", true),
        ("args.list.exists_one(x, x == 2) && !args.list.exists_one(x, x > 1)", true),
        ("args.list.filter(x, x > 1) == [2, 3] && args.list.map(x, x * 2) == [2, 4, 6]", true),
        ("args.list.map(x, x > 1, x + 1) == [3, 4]", true),
        ("args.package.all(k, k == 'x') && args.empty.all(x, false) && !args.empty.exists(x, true)", true),
        ("args.list.all(x, args.list.exists(y, x == y))", true),
        ("args.list.map(args, args + 1) == [2, 3, 4]", true),
        ("args.n > 6.5 && args.half < 1 && args.half < 1u && 7u == args.n && args.n != 7.5", true),
        ("args.big == 18446744073709551615u && args.big > args.n && args.big > 1e3", true),
        ("-9223372036854775808 < 0 && 9223372036854775807 == 9223372036854775807.0", false),
        ("1.0 == 1 && 1 in [1.0] && {1: 'a'}[1u] == 'a' && {1: 'a'}[1.0] == 'a'", true),
        ("1 + 2 * 3 - 4 / 2 == 5 && 7 % 3 == 1 && -7 / 2 == -3 && (1 + 2) * 3 == 9", true),
        ("1 - 1 - 1 == -1 && !!true && - -1 == 1", true),
        ("'a' + 'b' == 'ab' && b'a' + b'b' == b'ab' && [1] + [2] == [1, 2]", true),
        ("args.no == null && null != 1 && args.n != 'x' && [1] != [1, 2] && {'a': 1} == {'a': 1.0}", true),
        ("args.n > 5 ? args.ok : false", true),
        ("false ? true : false ? true : 1 == 1", true),
        ("int('7') == args.n && string(args.n) == '7' && double('0.5') == args.half && uint(7) == 7u", true),
        ("int(1.9) == 1 && bool('true') && string(b'a') == 'a' && bytes('é').size() == 2", true),
        ("dyn(1) == 1 && 'ABC'.lowerAscii() == 'abc' && 'é'.upperAscii() == 'é'", true),
        ("0x1F == 31 && 0xau == 10u && 1e2 == 100.0 && .5 == 0.5", true),
        (
            r"'\x41\u0042\U00000043\104\n' == 'ABCD' + '''
''' && b'\xff'.size() == 1 && r'\d'.size() == 2",
            true,
        ),
        ("'a' < 'b' && false < true && b'a' < b'b' // a remark", true),
        // One operand without a value does not matter where the other decides.
        ("args.m == 1 || args.n == 7", true),
        ("args.m == 1 && args.n == 8", false),
        ("args.list.exists(x, x == 'a' || 1 / (x - 1) == 1)", true),
        ("!args.list.all(x, 1 / (x - 1) == 7)", true),
        ("[1, 2, ].size() == 2 && {'a': 1, }.size() == 1 && [].size() == 0 && {}.size() == 0", true),
    ] {
        assert_eq!(ask(text, &args, 10_000), Ok(expected), "{text}");
    }
}

#[test]
fn what_has_no_value_is_neither_true_nor_false() {
    let args =
        json(r#"{"path":"/tmp","n":7,"zero":0,"Mode":"x","ſize":1,"list":[1],"o":{"a":1,"A":2},"w":"true"}"#);
    let field = |name: &str| Wrong::NoField(name.into());
    for (text, expected) in [
        ("args.m == 1", field("m")),
        ("args.m.n == 1", field("m")),
        ("args.m == 1 || args.n == 8", field("m")),
        ("args.m == 1 && args.n == 7", field("m")),
        ("args['m'] == 1", Wrong::NoElement),
        ("args.list[1] == 1", Wrong::NoElement),
        ("args.list[-1] == 1", Wrong::NoElement),
        ("args.list['a'] == 1", Wrong::Operands("[", Type::List)),
        ("args.path.n == 1", Wrong::Operands(".", Type::String)),
        ("args.mode == 'x'", Wrong::OtherCase),
        ("!has(args.mode)", Wrong::OtherCase),
        ("!('mode' in args)", Wrong::OtherCase),
        ("!has(args.size)", Wrong::OtherCase),
        ("args.o.a == 1", Wrong::OtherCase),
        ("args.n", Wrong::NotBool(Type::Int)),
        ("args.w", Wrong::NotBool(Type::String)),
        ("args.n && true", Wrong::NotBool(Type::Int)),
        ("!args.n", Wrong::NotBool(Type::Int)),
        ("args.n.startsWith('a')", Wrong::Operands("startsWith", Type::Int)),
        ("args.n.matches('a')", Wrong::Operands("matches", Type::Int)),
        ("args.n < 'a'", Wrong::Operands("<", Type::Int)),
        ("args.n + 1.0 > 1", Wrong::Operands("+", Type::Int)),
        ("args.n / args.zero == 1", Wrong::DivideByZero),
        ("args.n % args.zero == 1", Wrong::DivideByZero),
        ("args.n + 9223372036854775807 > 0", Wrong::Overflow),
        ("-(-9223372036854775808 + args.zero) > 0", Wrong::Overflow),
        ("0u - 1u > 0", Wrong::Overflow),
        ("int(args.path) == 1", Wrong::Conversion("int")),
        ("int(1e30) == 1", Wrong::Conversion("int")),
        ("uint(-1) == 1u", Wrong::Conversion("uint")),
        ("{args.n: 1, 7.0 == 7.0 ? 7 : 8: 2}.size() == 1", Wrong::BadKey),
        ("args.n in args.path", Wrong::Operands("in", Type::String)),
        ("args.path.all(x, true)", Wrong::Operands("elements", Type::String)),
    ] {
        assert_eq!(ask(text, &args, 10_000), Err(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_meant_does_not_compile_and_says_where() {
    let long = format!("'{}' == ''", "a".repeat(MAX_TEXT));
    let deep = |open: &str, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(MAX_DEPTH + 1), close.repeat(MAX_DEPTH + 1))
    };
    let brackets = format!("{} == 1", deep("[", "1", "]"));
    let (parens, nots) = (deep("(", "true", ")"), deep("!", "true", ""));
    let mut wrong = Vec::new();
    let (sum, fields) = (format!("1{} == 2", "+1".repeat(200)), format!("args{} == 2", ".a".repeat(200)));
    for (text, at, part) in [
        ("", 1, "ends too early"),
        ("tru", 1, "`tru` is no variable here; there are args, tool"),
        ("args.n == y", 11, "`y` is no variable"),
        ("args.all(x, x == 'a') && x == 1", 26, "`x` is no variable"),
        ("args.n = 1", 8, "write `==`"),
        ("args.n == 1 args", 13, "`args` does not fit"),
        ("(true", 6, "`)` is missing"),
        ("'é' == 'a", 8, "does not end"),
        ("'a\nb' == ''", 3, "does not end on its line"),
        (r"'\q' == ''", 3, "escape"),
        (r"'\ud800' == ''", 3, "escape"),
        ("1", 1, "it is an int, not true or false"),
        ("tool", 1, "it is a string, not true or false"),
        ("tool > 5", 6, "`>` is not between a string and an int"),
        ("tool == 5", 6, "`==` is not between"),
        ("!tool", 2, "needs a bool, and this is a string"),
        ("tool && true", 1, "need bools"),
        ("tool.n == 1", 1, "needs a map"),
        ("size(1, 2) == 1", 1, "`size` has 1 operands"),
        ("startsWith(tool, 'a')", 1, "is called as text.startsWith(…)"),
        ("tool.int() == 1", 6, "is called as int(…)"),
        ("timestamp('x') == 1", 1, "there is no function `timestamp`"),
        ("tool.matches(args.p)", 18, "must be written out"),
        ("tool.matches('(')", 14, "the pattern cannot be used"),
        ("tool.matches('(a{1,200}){1,200}')", 14, "the pattern cannot be used"),
        ("has(args)", 1, "has() asks for a field"),
        ("args.l.all(1, true)", 12, "begins with the name"),
        ("args.l.all(x)", 13, "`,` is missing"),
        ("args.l.all(x, true, true)", 8, "has a name and one expression"),
        ("args.l.all(x, 1)", 15, "must be a bool"),
        ("9223372036854775808 > 0", 1, "does not fit into 64 bits"),
        ("1x == 1", 2, "ends with something"),
        ("while == 1", 1, "reserved"),
        ("a # b", 3, "means nothing there"),
        (&long, 1, "at most 4096 bytes"),
        (&brackets, 49, "within each other"),
        (&parens, 49, "within each other"),
        (&nots, 49, "within each other"),
        (&sum, 96, "within each other"),
        (&fields, 99, "within each other"),
    ] {
        let error = compiled(text).expect_err(text);
        let is_told = error.message.contains(part) && error.character == at;
        wrong.extend((!is_told).then(|| format!("{text}: {error}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_costs_too_much_is_wrong_whoever_else_decides() {
    let list: Vec<_> = (0..1000).map(|at| at.to_string()).collect();
    let args = json(&format!(r#"{{"l":[{}],"t":"{}"}}"#, list.join(","), "a".repeat(60_000)));
    for text in [
        "args.l.all(x, args.l.all(y, args.l.all(z, x + y + z >= 0)))",
        "true || args.l.all(x, args.l.all(y, x + y >= 0))",
        "args.l.map(x, args.l.map(y, x + y)).size() == 1000",
        "args.l.all(x, args.l == args.l)",
        "args.l.all(x, !args.t.contains('b'))",
        "args.l.all(x, (args.t + args.t).size() > 0)",
        "args.t.matches('(a|b)*(a|b)*(a|b)*[^x]{90}c')",
        "args.l.all(x, args.l + args.l != [])",
    ] {
        let expected = if text.starts_with("true") { Ok(true) } else { Err(Wrong::Cost) };
        assert_eq!(ask(text, &args, 100_000), expected, "{text}");
    }
    assert_eq!(ask("args.l.all(x, x < 5000) || true", &args, 1000), Err(Wrong::Cost));
    assert_eq!(ask("args.l.all(x, x < 5000)", &args, 100_000), Ok(true));
}

#[test]
fn json_with_a_key_twice_is_none() {
    for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":1}}]"#, "1e400", r#""\ud800""#] {
        assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
    }
    assert_eq!(json("[1,-1,18446744073709551615,1.0]"), {
        let list = [Value::Int(1), Value::Int(-1), Value::Uint(u64::MAX), Value::Double(1.0)];
        Value::List(list.into())
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_text_makes_it_panic_or_take_more_than_its_budget(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "args", ".a", ".b", "[0]", "(", ")", "[", "]", "{", "}", "'a'", "'a':1", "1", "0", "1u", "2.5", " + ", " - ", " * ", " / ",
            " % ", " == ", " < ", " in ", " && ", " || ", "!", "-", " ? ", " : ", ",", ".all(x, ", ".map(x, ", ".exists(x, x)", "x",
            ".size()", ".matches('a*')", "has(args.a)", "int(", "tool", "null", "true", "b'\\xff'", "r'\\'", "9223372036854775807",
        ]), 0..16),
        args in prop::sample::select(vec!["{}", r#"{"a":[1,2],"b":{"a":"x"}}"#, r#"{"a":null,"A":1,"b":-9223372036854775808}"#]),
    ) {
        if let Ok(expression) = compiled(&pieces.concat()) {
            let mut budget = Budget::new(1000);
            let _told = expression.holds(&[json(args), Value::text("t")], &mut budget);
        }
    }

    #[test]
    fn no_characters_make_it_panic(text in ".{0,40}") {
        let _read = compiled(&text);
    }

    #[test]
    fn whole_numbers_are_ordered_as_they_are(a in any::<i64>(), b in any::<i64>(), c in any::<u64>()) {
        let int = |number| Value::Int(number);
        prop_assert_eq!(int(a).order(&int(b)), Some(Some(a.cmp(&b))));
        prop_assert_eq!(int(a).order(&Value::Uint(c)), Some(Some(i128::from(a).cmp(&i128::from(c)))));
    }

    #[test]
    fn numbers_of_both_kinds_are_ordered_exactly(a in -(1i64 << 53)..1i64 << 53, halves in -(1i64 << 52)..1i64 << 52) {
        #[expect(clippy::cast_precision_loss, reason = "they are within 53 bits")]
        let double = halves as f64 / 2.0;
        let expected = (i128::from(a) * 2).cmp(&i128::from(halves));
        prop_assert_eq!(Value::Int(a).order(&Value::Double(double)), Some(Some(expected)));
        prop_assert_eq!(Value::Double(double).order(&Value::Int(a)), Some(Some(expected.reverse())));
    }
}
