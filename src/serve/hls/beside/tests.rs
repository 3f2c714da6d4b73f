//! Names as uploaders write them, and names that no one writes.

use proptest::prelude::*;

use super::*;

fn only(film: &str, file: &str) -> Option<Beside> {
    tracks(film, [film, file], []).pop()
}

/// Language, flags and menu name of `Film.….srt`.
fn said(words: &str) -> String {
    let Some(track) = only("Film.mkv", &format!("Film{words}.srt")) else { return "-".to_owned() };
    let flag = |is: bool, flag: &'static str| if is { flag } else { "" };
    format!(
        "{}{}{}{} {}",
        track.language,
        flag(track.is_default, "*"),
        flag(track.is_forced, "!"),
        flag(track.is_for_impaired, "#"),
        track.name
    )
}

#[test]
fn names_tell_language_flags_and_the_rest() {
    for (words, expected) in [
        ("", "und Subtitles"),
        (".zh", "zh 中文"),
        (".chi", "zh 中文"),
        (".zho", "zh 中文"),
        (".中文", "zh 中文"),
        (".chs", "zh-Hans 中文（简体）"),
        (".SC", "zh-Hans 中文（简体）"),
        (".zh-CN", "zh-Hans 中文（简体）"),
        (".zh_CN", "zh-Hans 中文（简体）"),
        (".zh-Hans", "zh-Hans 中文（简体）"),
        (".zh-Hans-CN", "zh-Hans 中文（简体）"),
        (".简体", "zh-Hans 中文（简体）"),
        (".简中", "zh-Hans 中文（简体）"),
        (".简体中文字幕", "zh-Hans 中文（简体）"),
        (".cht", "zh-Hant 中文（繁體）"),
        (".tc", "zh-Hant 中文（繁體）"),
        (".zh_TW", "zh-Hant 中文（繁體）"),
        (".zh-Hant-HK", "zh-Hant 中文（繁體）"),
        (".繁体", "zh-Hant 中文（繁體）"),
        (".繁體", "zh-Hant 中文（繁體）"),
        (".中英", "zh 中文 / English"),
        (".中英双语", "zh 中文 / English"),
        (".简英", "zh-Hans 中文（简体） / English"),
        (".繁日双语", "zh-Hant 中文（繁體） / 日本語"),
        (".简体&英文", "zh-Hans 中文（简体） / English"),
        (".chs&eng", "zh-Hans 中文（简体） / English"),
        (".zh-en", "zh 中文 / English"),
        (".zh-jp", "zh 中文 / 日本語"),
        (".en-fr", "en English / Français"),
        (".sc.jp", "zh-Hans 中文（简体） / 日本語"),
        (".中英特效", "zh 中文 / English (特效)"),
        (".双语", "und 双语"),
        (".中", "und 中"),
        (".en", "en English"),
        (".EN-us", "en English"),
        (".eng", "en English"),
        (".English", "en English"),
        (".ja", "ja 日本語"),
        (".jpn", "ja 日本語"),
        (".jp", "ja 日本語"),
        (".日本語", "ja 日本語"),
        (".ko", "ko 한국어"),
        (".pt-BR", "pt-BR Português (Brasil)"),
        (".pt-PT", "pt Português"),
        (".es-419", "es-419 Español (Latinoamérica)"),
        (".Русский", "ru Русский"),
        (".it", "it Italiano"),
        (".xx", "und xx"),
        (".en.forced", "en! English (forced)"),
        (".forced.en", "en! English (forced)"),
        (".en.default", "en* English"),
        (".en.sdh", "en# English (SDH)"),
        (".en-sdh", "en# English (SDH)"),
        (".en.cc", "en# English (SDH)"),
        (".en.hi", "en# English (SDH)"),
        (".hi", "hi हिन्दी"),
        (".hi.sdh", "hi# हिन्दी (SDH)"),
        (".default.forced", "und*! Subtitles (forced)"),
        (".zh.default.forced.sdh", "zh*!# 中文 (forced, SDH)"),
        (".Director's Cut.en", "en English (Director's Cut)"),
        (".en.Director's Cut", "en English (Director's Cut)"),
        (".It.Is.English.Made.zh", "zh 中文 (It Is English Made)"),
        (".en.Commentary.sdh", "en# English (Commentary, SDH)"),
        (".zh.2", "zh 中文 (2)"),
        (".zh(1)", "zh 中文 (1)"),
        (".a\"b\u{7}.en", "en English (a'b)"),
        ("..zh.", "zh 中文"),
        (".mkv", "und Subtitles"),
        (".MKV.zh", "zh 中文"),
        // without a dot, only where it is clearly a language
        ("_zh", "zh 中文"),
        ("-chs", "zh-Hans 中文（简体）"),
        (" English", "en English"),
        (" - eng.forced", "en! English (forced)"),
        ("[简体]", "zh-Hans 中文（简体）"),
        (" (zh-CN)", "zh-Hans 中文（简体）"),
        ("_chs&eng", "zh-Hans 中文（简体） / English"),
        (" it", "-"),
        (" 2.zh", "-"),
        ("2.zh", "-"),
        (" Extended.zh", "-"),
        ("-", "-"),
        ("zh", "-"),
        ("、zh", "zh 中文"),
    ] {
        assert_eq!(said(words), expected, "{words}");
    }
}

#[test]
fn a_file_is_its_own_films() {
    for (film, file, is_its) in [
        ("Film.mkv", "FILM.zh.SRT", true),
        ("Film.mkv", "film.ass", true),
        ("Show S01E01.mkv", "Show S01E010.srt", false),
        ("Show S01E01.mkv", "Show S01E01.zh.srt", true),
        ("Film.2020.1080p.mkv", "Film.2020.zh.srt", false),
        ("Film.mkv", "Other.zh.srt", false),
        ("Film.mkv", "Film.zh.txt", false),
        ("Film.mkv", "Film.mkv", false),
        ("Film.mkv", "._Film.zh.srt", false),
        ("电影.mkv", "电影.简体.ass", true),
        ("é.mkv", "e.srt", false),
        ("Film", "Film.srt", true),
        ("", ".srt", true),
    ] {
        assert_eq!(only(film, file).is_some(), is_its, "{film} {file}");
    }
}

#[test]
fn a_file_that_fits_another_film_better_is_that_ones() {
    let folder = [
        "Film.mkv",
        "Film.mp4",
        "film.webm",
        "Film.Extended.mkv",
        "Film en.mkv",
        "Film.Extended.zh.srt",
        "Film.extended.srt",
        "Film en.srt",
        "Film.zh.srt",
        "film.en.srt",
        "FILM.ja.srt",
        "Film.zh.nfo",
    ];
    let files = |film| {
        let tracks = tracks(film, folder, []);
        tracks.into_iter().map(|track| track.file).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(files("Film.mkv"), "FILM.ja.srt Film.zh.srt");
    assert_eq!(files("Film.mp4"), files("Film.mkv"));
    assert_eq!(files("film.webm"), "FILM.ja.srt film.en.srt");
    assert_eq!(files("Film.Extended.mkv"), "Film.Extended.zh.srt Film.extended.srt");
    assert_eq!(files("Film en.mkv"), "Film en.srt");
}

#[test]
fn tags_and_names_are_each_given_once_and_in_order_of_name() {
    let names = [
        "Film.zh-Hans.srt",
        "Film.eng.ass",
        "Film.en.srt",
        "Film.zh.srt",
        "Film.srt",
        "Film.en.srt",
        "Film.pt-BR.vtt",
    ];
    let listed = |taken: &[&str]| {
        let tracks = tracks("Film.mkv", names, taken.iter().copied());
        tracks.iter().map(|track| format!("{}={}={}", track.file, track.tag, track.name)).collect::<Vec<_>>()
    };
    assert_eq!(
        listed(&[]),
        [
            "Film.en.srt=en=English",
            "Film.eng.ass=en-2=English 2",
            "Film.pt-BR.vtt=pt-br=Português (Brasil)",
            "Film.srt=und=Subtitles",
            "Film.zh-Hans.srt=zh-hans=中文（简体）",
            "Film.zh.srt=zh=中文",
        ]
    );
    let beside_the_drives = listed(&["zh", "en", "en-2"]);
    assert_eq!(beside_the_drives[0], "Film.en.srt=en-3=English 2");
    assert_eq!(beside_the_drives[1], "Film.eng.ass=en-4=English 3");
    assert_eq!(beside_the_drives[5], "Film.zh.srt=zh-2=中文 2");
}

#[test]
fn the_table_has_no_word_twice() {
    let mut words = HashSet::new();
    for language in language::all() {
        let own: HashSet<_> = language.into_iter().collect();
        for word in own {
            assert_eq!(word, word.to_lowercase());
            assert!(words.insert(word.clone()), "{word}");
        }
    }
    for (piece, tag) in language::PIECES {
        assert!(matches!(*tag, "" | "note") || language::of(tag).is_some(), "{piece}");
    }
}

const PIECES: &[&str] = &[
    "Film", "film", ".", ".", ".", " ", "-", "_", "[", "]", "（", "&", "zh", "CN", "en", "hi", "sdh",
    "forced", "default", "简", "英", "特效", "双语", "mkv", ".srt", ".ass", ".mkv", "2", "\"", "\n", "é",
    "İ",
];

proptest! {
    #[test]
    fn no_folder_panics_and_tags_are_valid_and_unique(
        film in "\\PC{0,8}",
        names in prop::collection::vec(
            prop::collection::vec(prop::sample::select(PIECES), 0..8).prop_map(|pieces| pieces.concat()), 0..30),
        taken in prop::collection::vec("(zh|en|und|zh-hans)(-[2-4])?", 0..6),
    ) {
        for film in [&*film, "Film.mkv", "Film"] {
            let names = names.iter().flat_map(|name| [name.clone(), format!("Film{name}.srt"), format!("{film}{name}.vtt")]);
            let names: Vec<_> = names.collect();
            let tracks = tracks(film, names.iter().map(|name| &**name), taken.iter().map(|tag| &**tag));
            let (mut tags, mut menu): (HashSet<_>, _) = (taken.iter().map(|tag| &**tag).collect(), HashSet::new());
            for track in &tracks {
                let is_valid = (1..=16).contains(&track.tag.len())
                    && track.tag.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                prop_assert!(is_valid, "{}", track.tag);
                prop_assert!(tags.insert(&track.tag), "{}", track.tag);
                prop_assert!(menu.insert(&track.name), "{}", track.name);
                let is_quotable = !track.name.contains('"') && !track.name.chars().any(char::is_control);
                prop_assert!(is_quotable && !track.name.is_empty(), "{:?}", track.name);
                prop_assert!(names.contains(&track.file));
            }
            prop_assert!(tracks.is_sorted_by(|a, b| a.file < b.file));
        }
    }
}
