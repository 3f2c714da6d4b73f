//! Languages as file names write them.

/// A language that subtitles are in.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Language {
    /// BCP 47.
    pub(super) tag: &'static str,
    /// In the language itself.
    pub(super) name: &'static str,
    /// How else names write it, in lower case: ISO 639-1 and 639-2 (both of its codes), its name, what uploaders use.
    words: &'static [&'static str],
    /// With which it is written the same, in lower case: `en-us` is `en`.
    regions: &'static [&'static str],
}

/// The language that a word stands for: a code, a name or a tag of BCP 47, in capitals or not, with `-` or `_`.
pub(super) fn of(word: &str) -> Option<&'static Language> {
    let word = word.to_lowercase().replace('_', "-");
    let is =
        |language: &&Language| language.tag.eq_ignore_ascii_case(&word) || language.words.contains(&&*word);
    let exact = LANGUAGES.iter().find(is);
    exact.or_else(|| {
        let (code, region) = word.split_once('-')?;
        LANGUAGES.iter().find(|language| {
            language.regions.contains(&region) && (language.tag == code || language.words.contains(&code))
        })
    })
}

/// How the language of a tag of BCP 47 is called in a player's menu, in the language itself.
pub fn name_of(tag: &str) -> Option<&'static str> {
    of(tag).map(|language| language.name)
}

/// All that each language is written as.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = Vec<String>> {
    LANGUAGES.iter().map(|language| {
        let words = language.words.iter().copied().chain([language.tag]);
        words.map(str::to_lowercase).collect()
    })
}

const fn language(
    tag: &'static str,
    name: &'static str,
    words: &'static [&'static str],
    regions: &'static [&'static str],
) -> Language {
    Language { tag, name, words, regions }
}

/// The tag of what is in no language that is known (BCP 47 §4.1).
pub(super) const NO_LANGUAGE: &str = "und";

/// Codes that are words of titles more often, unless there is a dot before them.
pub(super) const AMBIGUOUS: &[&str] = &[
    "ben", "cat", "da", "dan", "de", "el", "est", "et", "fin", "gb", "he", "hun", "ice", "id", "is", "it",
    "la", "lat", "lit", "mac", "mal", "may", "mon", "ms", "no", "pb", "per", "sc", "tam", "tc",
];

const LANGUAGES: &[Language] = &[
    language(
        "zh",
        "中文",
        &["chi", "zho", "cn", "chinese", "mandarin", "中文", "汉语", "漢語", "国语", "國語", "中字"],
        &[],
    ),
    language(
        "zh-Hans",
        "中文（简体）",
        &[
            "chs",
            "sc",
            "gb",
            "zhs",
            "hans",
            "zh-cn",
            "zh-sg",
            "zh-my",
            "zh-hans-cn",
            "zh-hans-sg",
            "zh-chs",
            "chi-cn",
            "zho-cn",
            "chi-sim",
            "simplified",
            "简体",
            "簡體",
            "简中",
            "簡中",
            "简体中文",
            "簡體中文",
        ],
        &[],
    ),
    language(
        "zh-Hant",
        "中文（繁體）",
        &[
            "cht",
            "tc",
            "big5",
            "zht",
            "hant",
            "tw",
            "zh-tw",
            "zh-hk",
            "zh-mo",
            "zh-hant-tw",
            "zh-hant-hk",
            "zh-hant-mo",
            "zh-cht",
            "chi-tw",
            "zho-tw",
            "chi-tra",
            "traditional",
            "繁体",
            "繁體",
            "繁中",
            "繁体中文",
            "繁體中文",
        ],
        &[],
    ),
    language("yue", "粵語", &["cantonese", "zh-yue", "粤语", "粵語"], &["hk"]),
    language(
        "en",
        "English",
        &["eng", "english", "英文", "英语", "英語"],
        &["au", "ca", "gb", "ie", "in", "nz", "uk", "us", "za"],
    ),
    language("ja", "日本語", &["jpn", "jp", "jap", "japanese", "日本語", "日文", "日语", "日語"], &["jp"]),
    language("ko", "한국어", &["kor", "kr", "korean", "한국어", "韩文", "韩语", "韓文", "韓語"], &["kr"]),
    language("ar", "العربية", &["ara", "arabic", "العربية"], &["ae", "eg", "sa"]),
    language("bg", "Български", &["bul", "bulgarian", "български"], &["bg"]),
    language("bn", "বাংলা", &["ben", "bengali"], &["bd", "in"]),
    language("ca", "Català", &["cat", "catalan", "català"], &["es"]),
    language("cs", "Čeština", &["cze", "ces", "cz", "czech", "čeština"], &["cz"]),
    language("da", "Dansk", &["dan", "danish", "dansk"], &["dk"]),
    language(
        "de",
        "Deutsch",
        &["ger", "deu", "german", "deutsch", "德文", "德语", "德語"],
        &["at", "ch", "de"],
    ),
    language("el", "Ελληνικά", &["gre", "ell", "greek", "ελληνικά"], &["gr"]),
    language(
        "es",
        "Español",
        &["spa", "esp", "spanish", "español", "espanol", "castellano", "西班牙语"],
        &["es"],
    ),
    language(
        "es-419",
        "Español (Latinoamérica)",
        &["es-la", "es-mx", "es-ar", "es-us", "spa-la", "latino"],
        &[],
    ),
    language("et", "Eesti", &["est", "estonian", "eesti"], &["ee"]),
    language("eu", "Euskara", &["baq", "eus", "basque", "euskara"], &["es"]),
    language("fa", "فارسی", &["per", "fas", "persian", "farsi", "فارسی"], &["ir"]),
    language("fi", "Suomi", &["fin", "finnish", "suomi"], &["fi"]),
    language("fil", "Filipino", &["tl", "tgl", "tagalog", "filipino"], &["ph"]),
    language(
        "fr",
        "Français",
        &["fre", "fra", "french", "français", "francais", "vf", "法文", "法语", "法語"],
        &["be", "ch", "fr"],
    ),
    language("fr-CA", "Français (Canada)", &["fre-ca", "fra-ca", "vfq"], &[]),
    language("gl", "Galego", &["glg", "galician", "galego"], &["es"]),
    language("he", "עברית", &["heb", "iw", "hebrew", "עברית"], &["il"]),
    language("hi", "हिन्दी", &["hin", "hindi", "हिन्दी"], &["in"]),
    language("hr", "Hrvatski", &["hrv", "scr", "croatian", "hrvatski"], &["hr"]),
    language("hu", "Magyar", &["hun", "hungarian", "magyar"], &["hu"]),
    language("id", "Bahasa Indonesia", &["ind", "indonesian", "indonesia", "bahasa", "印尼语"], &["id"]),
    language("is", "Íslenska", &["ice", "isl", "icelandic", "íslenska"], &["is"]),
    language("it", "Italiano", &["ita", "italian", "italiano", "意大利语"], &["ch", "it"]),
    language("la", "Latina", &["lat", "latin"], &[]),
    language("lt", "Lietuvių", &["lit", "lithuanian", "lietuvių"], &["lt"]),
    language("lv", "Latviešu", &["lav", "latvian", "latviešu"], &["lv"]),
    language("mk", "Македонски", &["mac", "mkd", "macedonian"], &["mk"]),
    language("ml", "മലയാളം", &["mal", "malayalam"], &["in"]),
    language("mn", "Монгол", &["mon", "mongolian"], &["mn"]),
    language("ms", "Bahasa Melayu", &["may", "msa", "malay", "melayu", "马来语"], &["my"]),
    language("nb", "Norsk bokmål", &["nob", "no", "nor", "norwegian", "norsk"], &["no"]),
    language("nl", "Nederlands", &["dut", "nld", "dutch", "nederlands"], &["be", "nl"]),
    language("nn", "Norsk nynorsk", &["nno"], &["no"]),
    language("pl", "Polski", &["pol", "polish", "polski"], &["pl"]),
    language("pt", "Português", &["por", "portuguese", "português", "portugues", "葡萄牙语"], &["pt"]),
    language("pt-BR", "Português (Brasil)", &["pob", "pb", "por-br", "brazilian"], &[]),
    language("ro", "Română", &["rum", "ron", "romanian", "română"], &["ro"]),
    language("ru", "Русский", &["rus", "russian", "русский", "俄文", "俄语", "俄語"], &["ru"]),
    language("sk", "Slovenčina", &["slo", "slk", "slovak", "slovenčina"], &["sk"]),
    language("sl", "Slovenščina", &["slv", "slovenian", "slovenščina"], &["si"]),
    language("sq", "Shqip", &["alb", "sqi", "albanian", "shqip"], &["al"]),
    language("sr", "Српски", &["srp", "scc", "serbian", "srpski", "српски"], &["rs"]),
    language("sv", "Svenska", &["swe", "swedish", "svenska"], &["fi", "se"]),
    language("ta", "தமிழ்", &["tam", "tamil"], &["in"]),
    language("te", "తెలుగు", &["tel", "telugu"], &["in"]),
    language("th", "ไทย", &["tha", "thai", "ไทย", "泰文", "泰语", "泰語"], &["th"]),
    language("tr", "Türkçe", &["tur", "turkish", "türkçe"], &["tr"]),
    language("uk", "Українська", &["ukr", "ukrainian", "українська"], &["ua"]),
    language("ur", "اردو", &["urd", "urdu"], &["pk"]),
    language("vi", "Tiếng Việt", &["vie", "vietnamese", "tiếng việt", "越南语"], &["vn"]),
];

/// What names in Chinese put together without a space, and the tag it stands for. Without a tag it only says that there are
/// several, or what the file is; `note` is worth a place in the menu.
pub(super) const PIECES: &[(&str, &str)] = &[
    ("简体中文", "zh-Hans"),
    ("簡體中文", "zh-Hans"),
    ("简体", "zh-Hans"),
    ("簡體", "zh-Hans"),
    ("简中", "zh-Hans"),
    ("簡中", "zh-Hans"),
    ("简", "zh-Hans"),
    ("簡", "zh-Hans"),
    ("繁体中文", "zh-Hant"),
    ("繁體中文", "zh-Hant"),
    ("繁体", "zh-Hant"),
    ("繁體", "zh-Hant"),
    ("繁中", "zh-Hant"),
    ("繁", "zh-Hant"),
    ("中文", "zh"),
    ("中", "zh"),
    ("国语", "zh"),
    ("國語", "zh"),
    ("粤语", "yue"),
    ("粵語", "yue"),
    ("英文", "en"),
    ("英语", "en"),
    ("英語", "en"),
    ("英", "en"),
    ("日本語", "ja"),
    ("日文", "ja"),
    ("日语", "ja"),
    ("日語", "ja"),
    ("日", "ja"),
    ("韩文", "ko"),
    ("韩语", "ko"),
    ("韓文", "ko"),
    ("韓語", "ko"),
    ("韩", "ko"),
    ("韓", "ko"),
    ("法文", "fr"),
    ("法语", "fr"),
    ("法語", "fr"),
    ("德文", "de"),
    ("德语", "de"),
    ("德語", "de"),
    ("俄文", "ru"),
    ("俄语", "ru"),
    ("俄語", "ru"),
    ("泰文", "th"),
    ("泰语", "th"),
    ("泰語", "th"),
    ("双语", ""),
    ("雙語", ""),
    ("双字", ""),
    ("雙字", ""),
    ("字幕", ""),
    ("特效", "note"),
];
