//! Releases, who signed them, and what a cluster may take.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

mod support;

use fleet::{
    Digest, Envelope, FleetName, Header, Memory, NotARelease, NotContents, OwnFleet, Pinned, Ref, Refused,
    Release, Step, Unnamed, Unproven,
};
use proptest::prelude::*;
use support::*;

const NOW: &str = "2026-11-26T12:00:00.000000Z";

#[test]
fn the_digest_does_not_depend_on_how_files_are_written() {
    let one = release(1, &[DENY, WEB]);
    let written_otherwise = "
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
spec:
  ingress: [{ports: [{port: 0x50, protocol: TCP, endPort: null}]}]
  podSelector: {matchLabels: {\"app\": web}}
status: {}
metadata:
  namespace: default
  uid: '01234'
  resourceVersion: '7'
  labels: {}
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}
  name: web
";
    let other = release(1, &[written_otherwise, DENY]);
    assert_eq!(one.digest(), other.digest());
    assert_eq!(one.payload(), other.payload());
    // Whatever is underneath, keys are sorted: another order would be another digest.
    let text = one.manifests()[0].value.to_string();
    assert!(text.starts_with("{\"apiVersion\":"), "{text}");
}

#[test]
fn what_was_signed_before_releases_named_their_fleet_is_still_the_same_to_the_byte() {
    // As the program made it before there was the field.
    let payload = concat!(
        r#"{"version":1,"number":3,"digest":"sha256:OF-ITS-POLICIES","objects":[{"apiVersion":"networking.k8s.io/v1","#,
        r#""kind":"NetworkPolicy","metadata":{"name":"other","namespace":"default"},"spec":{"podSelector":{}}}]}"#,
    );
    let policies = payload.split_once("\"objects\":").unwrap().1.strip_suffix('}').unwrap();
    let payload = payload.replace("sha256:OF-ITS-POLICIES", Digest::of(policies.as_bytes()).as_str());
    let made = release(3, &[OTHER]);
    assert_eq!(String::from_utf8(made.payload()).unwrap(), payload);
    let signer = key(1);
    let opened = seal_bytes(payload.as_bytes(), 1).open(&pinned(&[("a", &signer)], "", 1), NOW).unwrap();
    assert_eq!((opened.release(), opened.release().fleet()), (&made, None));
    let named = made.clone().of_fleet("eu".parse().unwrap()).unwrap();
    assert_eq!(named.reference(), made.reference(), "what is in it is the same");
    assert_ne!(named.payload(), made.payload());
}

#[test]
fn a_cluster_that_knows_its_fleet_refuses_what_was_signed_for_another() {
    let signer = key(1);
    let name = |text: &str| text.parse::<FleetName>().unwrap();
    let signed_for = |fleet: Option<&str>| {
        let release = release(3, &[WEB]);
        let release = fleet.map_or(release.clone(), |it| release.of_fleet(name(it)).unwrap());
        Envelope::seal(&release, &[key(1)])
    };
    let other = Unproven::OtherFleet { own: name("eu"), other: name("us") };
    let none = Unproven::NoFleet { own: name("eu") };
    for (own, fleet, refused) in [
        (None, None, None),
        (None, Some("us"), None),
        (Some(Unnamed::Taken), None, None),
        (Some(Unnamed::Taken), Some("eu"), None),
        (Some(Unnamed::Taken), Some("us"), Some(&other)),
        (Some(Unnamed::Refused), None, Some(&none)),
        (Some(Unnamed::Refused), Some("eu"), None),
        (Some(Unnamed::Refused), Some("us"), Some(&other)),
    ] {
        let keys = pinned(&[("a", &signer)], "", 1);
        let keys = match own {
            Some(unnamed) => keys.of_fleet(OwnFleet { name: name("eu"), unnamed }),
            None => keys,
        };
        let opened = signed_for(fleet).open(&keys, NOW);
        assert_eq!(opened.as_ref().err(), refused, "{own:?} {fleet:?}");
        // Over the way back it is the same release.
        if let Ok(signed) = opened {
            assert_eq!(signed.release().fleet(), fleet.map(name).as_ref());
        }
    }
    // Whoever has the hub cannot write another name over it.
    let text = String::from_utf8(release(3, &[WEB]).of_fleet(name("us")).unwrap().payload()).unwrap();
    let mut altered = signed_for(Some("us"));
    altered.payload = seal_bytes(text.replace("\"us\"", "\"eu\"").as_bytes(), 2).payload;
    let keys = pinned(&[("a", &signer)], "", 1);
    assert!(matches!(altered.open(&keys, NOW), Err(Unproven::TooFew { found: 0, .. })));
    let odd = text.replace("\"us\"", "\"U S\"");
    assert!(matches!(seal_bytes(odd.as_bytes(), 1).open(&keys, NOW), Err(Unproven::Release(_))));
}

#[test]
fn what_says_something_else_has_another_digest() {
    let digest = release(1, &[WEB]).digest().clone();
    for (from, to) in [
        ("port: 80", "port: 81"),
        ("port: 80", "port: http"),
        ("name: web", "name: web2"),
        ("app: web", "app: web2"),
        ("ingress: [{ports: [{port: 80, protocol: TCP}]}]", "ingress: []"),
        ("{name: web}", "{name: web, labels: {a: b}}"),
        ("{name: web}", "{name: web, namespace: shop}"),
    ] {
        assert!(WEB.contains(from), "{from}");
        assert_ne!(*release(1, &[&WEB.replace(from, to)]).digest(), digest, "{from} -> {to}");
    }
}

#[test]
fn what_cannot_be_handed_over_is_refused_with_its_name() {
    let build = |files: &[&str]| Release::build(header(1), &values(files)).map(drop).unwrap_err().to_string();
    assert_eq!(build(&[]), NotContents::Nothing.to_string());
    assert_eq!(
        build(&["{apiVersion: v1, kind: Namespace, metadata: {name: a}}"]),
        NotContents::Nothing.to_string()
    );
    assert_eq!(build(&[WEB, WEB]), "NetworkPolicy default/web is there twice; leave one");
    let wrong = build(&[&WEB.replace("port: 80", "port: 80000")]);
    assert!(
        wrong.starts_with("NetworkPolicy default/web cannot be applied as written: spec.ingress[0]"),
        "{wrong}"
    );
    let unknown = build(&["{apiVersion: cofferdam.dev/v1alpha1, kind: EgressPolice, metadata: {name: a}}"]);
    assert!(unknown.contains("no policy kind"), "{unknown}");
}

#[test]
fn objects_that_are_no_policy_are_left_out_and_named() {
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: k, labels: {cofferdam.dev/inject: 'true'}}, stringData: {a: hush}}";
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}";
    let rollout = "{apiVersion: cofferdam.dev/v1alpha1, kind: Rollout, metadata: {name: r}}";
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}}";
    let (release, others) = Release::build(header(1), &values(&[secret, WEB, pod, rollout, map])).unwrap();
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    assert_eq!(others, ["Secret default/k", "Pod default/p", "Rollout r", "ConfigMap m"]);
    assert!(!String::from_utf8(release.payload()).unwrap().contains("hush"));
}

#[test]
fn numbers_lead_forward_and_fallbacks_back() {
    let digest = Digest::of(b"x");
    let fallback = |number, digest: &Digest| Some(Ref { number, digest: digest.clone() });
    for (number, fallback, fine) in [
        (0, None, false),
        (1, None, true),
        (1, Some(Ref::nothing()), true),
        (1, fallback(0, &digest), false),
        (2, fallback(1, &digest), true),
        (2, fallback(2, &digest), false),
        (2, fallback(3, &digest), false),
    ] {
        let header = Header { number, fallback, rollback_to: None };
        assert_eq!(Release::build(header.clone(), &values(&[WEB])).is_ok(), fine, "{header:?}");
    }
    let old = release(1, &[WEB]);
    let back = |digest: &Digest| Header { number: 9, fallback: None, rollback_to: Some(digest.clone()) };
    assert!(Release::build(back(old.digest()), &values(&[WEB])).is_ok());
    let other = Release::build(back(&digest), &values(&[WEB])).unwrap_err();
    assert_eq!(other, NotARelease::NotThoseBroughtBack { found: old.digest().clone(), named: digest });
}

#[test]
fn a_signature_holds_for_what_was_signed_and_for_nothing_else() {
    let (release, keys) = (release(3, &[DENY, WEB]), [key(1)]);
    let sealed = Envelope::seal(&release, &keys);
    let pinned = pinned(&[("platform", &keys[0])], "", 1);
    let signed = Envelope::from_json(sealed.to_json().as_bytes()).unwrap().open(&pinned, NOW).unwrap();
    assert_eq!((signed.release(), signed.signers()), (&release, &["platform".to_owned()][..]));

    let other = Envelope::seal(&support::release(4, &[WEB]), &keys);
    let mut swapped = sealed.clone();
    swapped.payload = other.payload.clone();
    assert!(matches!(swapped.open(&pinned, NOW), Err(Unproven::TooFew { found: 0, .. })));
    let mut unsigned = sealed.clone();
    unsigned.signatures.clear();
    assert_eq!(unsigned.open(&pinned, NOW), Err(Unproven::Unsigned));
    let mut of_another_type = sealed.clone();
    of_another_type.payload_type = "application/json".to_owned();
    assert!(matches!(of_another_type.open(&pinned, NOW), Err(Unproven::Type(_))));
    let mut claimed = Envelope::seal(&release, &[key(2)]);
    claimed.signatures[0].keyid = sealed.signatures[0].keyid.clone();
    let error = claimed.open(&pinned, NOW).unwrap_err().to_string();
    assert!(error.contains("platform does not hold"), "{error}");
    let mut many = sealed.clone();
    many.signatures = vec![sealed.signatures[0].clone(); 17];
    assert_eq!(many.open(&pinned, NOW), Err(Unproven::TooManySignatures));
}

#[test]
fn whom_nobody_believes_counts_for_nothing() {
    let release = release(3, &[WEB]);
    let (good, bad) = (key(1), key(2));
    let open = |more: &str, threshold, signers: &[u8]| {
        let keys: Vec<_> = signers.iter().map(|seed| key(*seed)).collect();
        let pinned = pinned(&[("good", &good), ("bad", &bad)], more, threshold);
        Envelope::seal(&release, &keys)
            .open(&pinned, NOW)
            .map(|it| it.signers().join(" "))
            .map_err(|it| it.to_string())
    };
    assert_eq!(open("", 1, &[1]).unwrap(), "good");
    assert_eq!(open("", 1, &[2, 1]).unwrap(), "good bad");
    assert_eq!(open("revoked: true", 1, &[1, 2]).unwrap(), "good");
    assert!(open("revoked: true", 1, &[2]).unwrap_err().contains("key bad is revoked"));
    assert!(open("notAfter: '2026-11-25'", 1, &[2]).unwrap_err().contains("until 2026-11-25 only"));
    assert_eq!(open("notAfter: '2026-11-26'", 1, &[2]).unwrap(), "bad");
    assert!(open("", 1, &[3]).unwrap_err().contains("not among those"));
    assert!(open("", 2, &[1, 1]).unwrap_err().starts_with("1 of 2 signatures"));
    assert_eq!(open("", 2, &[1, 2]).unwrap(), "good bad");
    assert!(open("revoked: true", 2, &[1, 2]).unwrap_err().contains("key bad is revoked"));
}

#[test]
fn a_file_of_keys_that_is_not_understood_pins_nobody() {
    let whole = pinned_text(&[("a", &key(1))], "", 1);
    assert!(Pinned::read("keys.yaml", whole.as_bytes()).is_ok());
    for (from, to, says) in [
        ("ReleaseKeys", "ReleaseKey", "exactly one object"),
        ("threshold: 1", "threshold: 0", "from 1"),
        ("threshold: 1", "threshold: 2", "from 1"),
        ("threshold: 1", "treshold: 1", "treshold"),
        ("name: a", "name: \"a\\u001b[2J\"", "name: 1 to 63"),
        ("BEGIN PUBLIC", "BEGIN PRIVATE", "no Ed25519 key"),
        ("name: a", "name: a\n  notAfter: tomorrow", "notAfter"),
        ("name: a", "name: a\n  notAfter: 2027", "expected a string"),
        ("name: a", "name: a\n  revoked: maybe", "boolean"),
        ("keys:", "---\nkeys:", "kind is missing"),
        ("threshold: 1", "threshold: 1\nthreshold: 2", "there twice"),
        ("keys:", "key: [\nkeys:", "k"),
    ] {
        assert!(whole.contains(from), "{from}");
        let error = Pinned::read("keys.yaml", whole.replace(from, to).as_bytes()).map(drop);
        let error = error.expect_err(to).to_string();
        assert!(error.contains(says) && error.starts_with("keys.yaml"), "{to}: {error}");
    }
    let twice = pinned_text(&[("a", &key(1)), ("b", &key(1))], "", 1);
    assert!(Pinned::read("k", twice.as_bytes()).unwrap_err().to_string().contains("twice"));
}

#[test]
fn a_payload_that_claims_another_digest_is_refused_although_it_is_signed() {
    let (signer, text) = (key(1), String::from_utf8(release(3, &[WEB]).payload()).unwrap());
    let pinned = pinned(&[("a", &signer)], "", 1);
    for (from, to, says) in [
        ("\"port\":80", "\"port\":81", "claims digest"),
        ("\"version\":1", "\"version\":2", "version 2"),
        ("\"version\":1", "\"version\":1,\"force\":true", "force"),
        ("\"number\":3", "\"number\":0", "from 1"),
        ("\"kind\":\"NetworkPolicy\"", "\"kind\":\"Pod\"", "no policy"),
    ] {
        assert!(text.contains(from), "{from}");
        let envelope = seal_bytes(text.replace(from, to).as_bytes(), 1);
        let error = envelope.open(&pinned, NOW).expect_err(to).to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
}

#[test]
fn what_is_older_comes_back_only_where_somebody_signed_it() {
    let (one, two) = (release(1, &[WEB]), release(2, &[DENY, WEB]));
    let three =
        Release::build(Header { fallback: Some(two.reference()), ..header(3) }, &values(&[DENY])).unwrap().0;
    let [one, two, three] = [one, two, three].map(|it| sign(&it));
    let fresh = Memory::default();
    assert_eq!(fresh.consider(&two), Ok(Step::Forward));
    let memory = fresh.after(&two);
    assert_eq!(memory.consider(&two), Ok(Step::Again));
    let older = memory.consider(&one).unwrap_err();
    assert!(
        matches!(older, Refused::Older { .. }) && older.to_string().contains("--rollback-to sha256:"),
        "{older}"
    );
    assert_eq!(memory.clone().after(&one), memory);
    let memory = memory.after(&three);
    assert_eq!(memory.consider(&two), Ok(Step::Back));
    // Back, and forward again, and never further back.
    let memory = memory.after(&two);
    assert_eq!(memory.consider(&three), Ok(Step::Again));
    assert!(memory.consider(&one).is_err());
    let same_number = sign(&release(3, &[WEB]));
    assert!(matches!(memory.consider(&same_number), Err(Refused::SameNumber { .. })));
    let again = sign(
        &Release::build(
            Header { rollback_to: Some(one.release().digest().clone()), ..header(4) },
            &values(&[WEB]),
        )
        .unwrap()
        .0,
    );
    assert_eq!(memory.consider(&again), Ok(Step::Forward));
    // A cluster that came back from a backup, told by its hub what it knew.
    assert_eq!(Memory::default().after(&one).newer(memory.clone()), memory);
    assert_eq!(memory.clone().newer(Memory::default()), memory);
}

#[test]
fn a_cluster_is_of_one_hub() {
    let memory = Memory::default().of_hub("hub-a").unwrap();
    assert_eq!(memory.clone().of_hub("hub-a"), Ok(memory.clone()));
    let refused = memory.after(&sign(&release(1, &[WEB]))).of_hub("hub-b").unwrap_err();
    assert_eq!(refused, Refused::OtherHub { own: "hub-a".to_owned(), other: "hub-b".to_owned() });
}

#[test]
fn differences_name_the_object_and_the_field() {
    let after = [&WEB.replace("port: 80", "port: 81") as &str, OTHER];
    let changes = fleet::compare(release(1, &[DENY, WEB]).manifests(), release(2, &after).manifests());
    let said: Vec<String> = changes
        .iter()
        .map(|it| match it {
            fleet::Change::Added(name) => format!("+ {name}"),
            fleet::Change::Removed(name) => format!("- {name}"),
            fleet::Change::Changed { object, fields, .. } => format!("{object} {}", fields[0].field),
        })
        .collect();
    assert_eq!(
        said,
        [
            "- ClusterNetworkPolicy deny",
            "+ NetworkPolicy default/other",
            "NetworkPolicy default/web spec.ingress[0].ports[0].port",
        ]
    );
}

proptest! {
    #[test]
    fn one_changed_byte_of_an_envelope_never_opens_to_something_else(at in 0usize..4000, to in any::<u8>()) {
        let release = release(3, &[DENY, WEB]);
        let signer = key(1);
        let mut bytes = Envelope::seal(&release, &[key(1)]).to_json().into_bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        let pinned = pinned(&[("a", &signer)], "", 1);
        if let Ok(signed) = Envelope::from_json(&bytes).map_err(drop).and_then(|it| it.open(&pinned, NOW).map_err(drop)) {
            prop_assert_eq!(signed.release(), &release);
        }
    }

    #[test]
    fn a_cluster_goes_down_in_numbers_only_to_a_signed_fallback(steps in proptest::collection::vec((1u64..6, 0u64..6, 0usize..3), 1..30)) {
        let texts = [WEB, DENY, OTHER];
        let mut memory = Memory::default();
        let mut applied: Vec<(Ref, Option<Ref>)> = Vec::new();
        for (number, fallback, text) in steps {
            let fallback = applied.iter().map(|(it, _)| it).find(|it| it.number == fallback && it.number < number).cloned();
            let header = Header { number, fallback: fallback.clone(), rollback_to: None };
            let signed = sign(&Release::build(header, &values(&[texts[text]])).unwrap().0);
            if memory.consider(&signed).is_ok() {
                let highest = applied.iter().max_by_key(|(it, _)| it.number);
                let own = signed.release().reference();
                if let Some((highest, back)) = highest {
                    prop_assert!(own.number > highest.number || own == *highest || back.as_ref() == Some(&own));
                }
                if applied.iter().all(|(it, _)| *it != own) {
                    applied.push((own, fallback));
                }
                memory = memory.after(&signed);
            }
        }
    }
}
