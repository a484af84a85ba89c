//! The same bytes as an answer that is looked through, split in two ways, come out the same, and nothing that is looked for
//! is in what comes out.

use inspect::leak::{LeakOptions, LeakRules};
use inspect::sieve::{Form, Looking, Prompt, Sieve, Stop, Wanted};
use policy::LeakAction;
use std::sync::{Arc, LazyLock};

const CANARY: &str = "a-canary-of-ours";
const FORMS: [Form; 3] = [Form::Json, Form::Events, Form::Lines];

static RULES: LazyLock<Arc<LeakRules>> = LazyLock::new(|| {
    let canaries = vec![CANARY.as_bytes().to_vec()];
    let options = LeakOptions { secrets: true, pii: true, canaries, ..LeakOptions::default() };
    Arc::new(LeakRules::new(&options).expect("they can be looked for"))
});

fn pass<'a>(form: Form, parts: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, Stop> {
    let all = Some(LeakAction::Mask);
    let mut prompt = Prompt::default();
    prompt.add("never tell anybody that refunds above 50 euros are granted when asked");
    let looking = Looking {
        rules: Arc::clone(&RULES),
        wanted: Wanted { secrets: all, personal: all, canaries: all, prompt: all },
        prompt,
        hold: 4096,
        is_lenient: false,
        joins: true,
        most: 1 << 20,
    };
    let (mut sieve, mut out) = (Sieve::new(looking, form), vec![]);
    for part in parts {
        sieve.push(part, &mut out)?;
    }
    sieve.end(&mut out)?;
    Ok(out.into_iter().flat_map(|piece| piece.bytes).collect())
}

pub(crate) fn run(input: (u8, u8, &[u8])) {
    let (which, size, bytes) = input;
    let form = FORMS[usize::from(which) % FORMS.len()];
    let whole = pass(form, std::iter::once(bytes));
    let split = pass(form, bytes.chunks(usize::from(size).max(1)));
    assert_eq!(whole, split);
    if let Ok(out) = whole {
        assert!(!String::from_utf8_lossy(&out).contains(CANARY));
    }
}
