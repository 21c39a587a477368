//! Words that are read for [`super::marks`], each list in the order of its search. English, German, French and Spanish; where one
//! word has two meanings, the one that turns a sentence counts.

#[rustfmt::skip]
/// Words that turn or place what follows them.
pub(super) const BINDING: &[&str] = &[
    "after", "against", "als", "anstatt", "antes", "après", "aucun", "aucune", "außer", "avant", "before", "between", "bis",
    "contra", "contre", "depuis", "desde", "despite", "después", "entre", "except", "excepto", "excluding", "from", "gegen",
    "hasta", "instead", "into", "jamais", "jamás", "kein", "keine", "keinem", "keinen", "keiner", "nach", "ne", "neither",
    "never", "ni", "nicht", "nie", "niemals", "ninguna", "ninguno", "no", "nor", "not", "nunca", "ohne", "over", "pas",
    "rather", "sans", "sauf", "sin", "statt", "than", "under", "unless", "unlike", "until", "versus", "von", "vor", "vs",
    "weder", "without", "zwischen",
];

#[rustfmt::skip]
/// Words that stand between a binding word and what it binds.
pub(super) const FILLING: &[&str] = &[
    "a", "also", "am", "an", "and", "are", "as", "at", "be", "by", "das", "de", "dem", "den", "der", "des", "did", "die", "do",
    "does", "du", "e", "ein", "eine", "einem", "einen", "einer", "el", "es", "est", "et", "for", "he", "her", "his", "i", "is",
    "ist", "it", "its", "just", "la", "las", "le", "les", "los", "me", "my", "of", "or", "our", "please", "really", "she",
    "sind", "so", "some", "son", "sont", "that", "the", "their", "these", "they", "this", "those", "to", "too", "un", "una",
    "une", "very", "was", "we", "were", "y", "you", "your", "zu",
];

#[rustfmt::skip]
/// Words that begin sentences, and are no names for their capital letter.
pub(super) const OPENERS: &[&str] = &[
    "a", "aber", "about", "also", "am", "an", "and", "are", "as", "at", "avec", "beschreibe", "bitte", "but", "by", "c'est",
    "can", "ce", "cette", "combien", "comment", "con", "could", "cuál", "cuáles", "cuándo", "cuánto", "cuántos", "cómo", "dans",
    "das", "define", "dein", "deine", "der", "describe", "did", "die", "dime", "dis", "do", "does", "donne", "décris", "dónde",
    "ein", "eine", "el", "elles", "ellos", "en", "erklär", "erkläre", "es", "est", "et", "explain", "explica", "explique",
    "expliquez", "find", "for", "für", "gib", "give", "haben", "had", "has", "hat", "have", "hello", "help", "her", "here",
    "hey", "hi", "his", "how", "how's", "i", "i'd", "i'll", "i'm", "i've", "ich", "if", "ihr", "ils", "in", "is", "ist", "it",
    "it's", "its", "je", "know", "la", "las", "le", "les", "let", "let's", "like", "list", "los", "mais", "make", "me", "mein",
    "meine", "mit", "montre", "muestra", "my", "name", "need", "nenne", "no", "nosotros", "nous", "o", "oder", "of", "ok",
    "okay", "or", "ou", "our", "outline", "où", "para", "pero", "peux", "please", "por", "pour", "pourquoi", "pouvez",
    "provide", "puede", "puedes", "qu'est-ce", "quand", "que", "quel", "quelle", "quelles", "quels", "qui", "quién", "quoi",
    "qué", "recommend", "s'il", "sag", "say", "shall", "show", "si", "sie", "sind", "so", "son", "sont", "suggest", "tell",
    "thank", "thanks", "that", "the", "their", "them", "then", "there", "there's", "these", "they", "think", "this", "those",
    "to", "un", "una", "und", "une", "us", "ustedes", "vous", "wann", "want", "warum", "was", "we", "welche", "welcher",
    "welches", "wem", "wen", "wenn", "wer", "were", "what", "what's", "when", "where", "where's", "which", "who", "who's",
    "whom", "whose", "why", "wie", "will", "wir", "with", "wo", "would", "y", "yes", "yo", "you", "your", "zeige", "zu", "à",
];

#[rustfmt::skip]
/// Opposites, degrees, times, days, units, languages, colours, and what is to be done: another one asks for something else.
pub(super) const TURNING: &[&str] = &[
    "abajo", "able", "above", "abril", "abrir", "accept", "accepted", "acheter", "acre", "acres", "activar", "activer", "add",
    "added", "adding", "advantages", "afternoon", "agosto", "ajouter", "aktivieren", "alemán", "all", "alle", "allemand",
    "allow", "allowed", "alt", "always", "amp", "ampere", "amperes", "amps", "anglais", "annual", "année", "années", "ans",
    "any", "août", "april", "arabe", "arabic", "arriba", "arrêter", "ascending", "async", "asynchronous", "attach", "augmenter",
    "august", "aujourd'hui", "aumentar", "autumn", "außen", "avantages", "avril", "ayer", "añadir", "año", "años", "bad",
    "bake", "bar", "bas", "begin", "beginnen", "below", "benefits", "best", "beste", "better", "big", "bits", "black", "blue",
    "boil", "borrow", "bought", "boy", "boys", "brother", "brown", "buy", "buying", "byte", "bytes", "cada", "caliente",
    "calorie", "calories", "cancel", "cause", "causes", "celsius", "centimeter", "centimeters", "cents", "century", "cerrar",
    "chaque", "chaud", "cheap", "cheaper", "cheapest", "chf", "chinese", "chinesisch", "chino", "chinois", "classify", "clean",
    "client", "close", "closed", "closing", "cm", "cold", "commencer", "compare", "comparison", "comprar", "compress",
    "connect", "cons", "convert", "cook", "cool", "correct", "count", "crear", "create", "created", "creating", "créer", "cup",
    "cups", "daily", "dangerous", "danish", "darf", "dark", "daughter", "day", "days", "deaktivieren", "debug", "decade",
    "december", "decode", "decompress", "decrease", "decreased", "decreasing", "decrypt", "deep", "degrees", "delete",
    "deleted", "deleting", "demain", "denied", "deny", "deploy", "derecha", "desactivar", "descending", "desventajas", "detach",
    "detener", "deutsch", "dezember", "diciembre", "dienstag", "dimanche", "diminuer", "disable", "disabled", "disabling",
    "disadvantages", "disconnect", "disminuir", "dollar", "dollars", "domingo", "donnerstag", "down", "downgrade", "download",
    "drawbacks", "droite", "drop", "dry", "dutch", "dynamic", "décembre", "démarrer", "désactiver", "día", "días", "each",
    "earlier", "earliest", "early", "east", "eastern", "effect", "effects", "eliminar", "ella", "empezar", "empty", "enable",
    "enabled", "enabling", "encode", "encrypt", "end", "enden", "enero", "englisch", "english", "enough", "entfernen",
    "erlaubt", "erstellen", "espagnol", "español", "eur", "euro", "euros", "even", "evening", "every", "exchange", "exclude",
    "excluded", "expand", "expensive", "export", "external", "extract", "fahrenheit", "fall", "falsch", "false", "falso", "far",
    "fast", "faster", "fastest", "father", "faux", "febrero", "februar", "february", "feed", "feet", "female", "fermer", "few",
    "fewer", "finir", "finnish", "foot", "forbidden", "franc", "francs", "francés", "französisch", "français", "freeze",
    "freitag", "french", "friday", "froid", "fry", "frío", "früh", "ft", "full", "février", "gallon", "gallons", "gauche",
    "gbp", "gefährlich", "german", "gestern", "gigabyte", "gigabytes", "girl", "girls", "good", "gram", "grams", "grand",
    "grande", "gray", "greek", "green", "grey", "grill", "grow", "groß", "größte", "hard", "harmless", "haut", "he", "healthy",
    "heavy", "hectare", "hectares", "heiß", "hertz", "heure", "heures", "heute", "hidden", "hier", "high", "higher", "highest",
    "him", "hindi", "hinzufügen", "hoch", "hora", "horas", "hot", "hour", "hourly", "hours", "hoy", "husband", "höchste",
    "illegal", "immer", "immutable", "import", "impossible", "inch", "inches", "include", "included", "inconvénients",
    "incorrect", "increase", "increased", "increasing", "inglés", "iniciar", "innen", "input", "insert", "inside", "install",
    "interdit", "internal", "invalid", "iron", "italian", "italiano", "italien", "italienisch", "izquierda", "ja", "jahr",
    "jahre", "januar", "january", "janvier", "japanese", "japanisch", "japonais", "japonés", "jede", "jeder", "jedes", "jeudi",
    "jeune", "joule", "joules", "jour", "jours", "joven", "jpy", "jueves", "juillet", "juin", "juli", "julio", "july", "june",
    "jung", "juni", "junio", "kalt", "kann", "kaufen", "kelvin", "kg", "kilo", "kilobyte", "kilobytes", "kilogram", "kilograms",
    "kilometer", "kilometers", "kilometre", "kilometres", "kilos", "kilowatt", "kilowatts", "klein", "kleinste", "km", "knot",
    "knots", "korean", "langsam", "large", "larger", "largest", "late", "later", "latest", "latin", "lb", "lbs", "least",
    "left", "legal", "lend", "less", "likely", "links", "liter", "liters", "litre", "litres", "local", "lock", "login",
    "logout", "long", "longer", "longest", "low", "lower", "lowest", "lundi", "lunes", "löschen", "mai", "male", "man",
    "manche", "many", "march", "mardi", "martes", "marzo", "max", "maximum", "mayo", "mañana", "megabyte", "megabytes", "mehr",
    "meilleur", "meisten", "mejor", "men", "menos", "mercredi", "mes", "meses", "meter", "meters", "metre", "metres", "mg",
    "midnight", "might", "mile", "miles", "milliliter", "milliliters", "millimeter", "millimeters", "min", "minimum", "minute",
    "minuten", "minutes", "mittwoch", "miércoles", "ml", "mm", "moins", "mois", "monat", "monate", "monday", "montag", "month",
    "monthly", "months", "more", "morgen", "morning", "most", "mother", "mount", "much", "muss", "must", "mutable", "más",
    "märz", "nachteile", "narrow", "near", "negative", "nein", "neu", "new", "newer", "newest", "niedrigste", "night", "non",
    "none", "noon", "north", "northern", "norwegian", "nouveau", "november", "novembre", "noviembre", "nuevo", "nur", "oben",
    "october", "octobre", "octubre", "odd", "off", "often", "oktober", "old", "older", "oldest", "on", "only", "open", "opened",
    "opening", "optional", "orange", "oui", "ounce", "ounces", "output", "outside", "ouvrir", "oz", "paint", "parfois",
    "pascal", "pay", "peor", "pequeña", "pequeño", "percent", "permis", "permit", "permitido", "peso", "pesos", "petit",
    "petite", "pink", "pint", "pints", "pire", "plant", "polish", "poor", "portugais", "portuguese", "portugués", "positive",
    "possible", "pound", "pounds", "private", "prohibido", "prohibit", "proofread", "pros", "psi", "public", "pull", "purple",
    "push", "raise", "rarely", "rarement", "read", "reboot", "receive", "rechts", "red", "reduce", "refactor", "refund",
    "reject", "rejected", "remote", "remove", "removed", "removing", "renew", "rephrase", "required", "reset", "restart",
    "rewrite", "rich", "richtig", "rise", "runter", "rupee", "rupees", "ruso", "russe", "russian", "russisch", "safe", "samedi",
    "samstag", "saturday", "schlechteste", "schließen", "schnell", "seconds", "sekunden", "sell", "selling", "selten",
    "semaine", "semaines", "semana", "semanas", "send", "september", "septembre", "septiembre", "server", "seulement",
    "shallow", "she", "short", "shorten", "shorter", "shortest", "should", "shrink", "sicher", "siempre", "sister", "slow",
    "slower", "slowest", "small", "smaller", "smallest", "soft", "sold", "soll", "solo", "some", "sometimes", "son", "sonntag",
    "sort", "south", "southern", "spanisch", "spanish", "spring", "spät", "start", "started", "starten", "starting", "static",
    "stop", "stopped", "stoppen", "stopping", "strengths", "strong", "stunde", "stunden", "subscribe", "summarise", "summarize",
    "summary", "summer", "sunday", "supprimer", "swedish", "sync", "synchronous", "sábado", "sí", "tablespoon", "tablespoons",
    "tag", "tage", "tard", "tarde", "teaspoon", "teaspoons", "temprano", "terabyte", "terabytes", "terminar", "test", "thaw",
    "thick", "thin", "thursday", "todas", "today", "todo", "todos", "tomorrow", "ton", "tonight", "tonne", "tonnes", "tons",
    "toujours", "tous", "tout", "toutes", "translate", "translation", "true", "tuesday", "turkish", "tôt", "unable",
    "unhealthy", "uninstall", "unlikely", "unlock", "unmount", "unsafe", "unsubscribe", "unten", "up", "update", "upgrade",
    "upload", "usd", "valid", "veces", "vender", "vendre", "vendredi", "ventajas", "verboten", "verdadero", "verkaufen",
    "viejo", "viel", "viele", "viernes", "vieux", "visible", "volt", "volts", "vorteile", "vrai", "wahr", "warm", "wash",
    "watt", "watts", "weak", "weaknesses", "wednesday", "week", "weekday", "weekend", "weekly", "weeks", "wenig", "wenige",
    "weniger", "wenigsten", "west", "western", "wet", "white", "wide", "wife", "winter", "woche", "wochen", "woman", "women",
    "worse", "worst", "write", "wrong", "yard", "yards", "year", "yearly", "years", "yellow", "yen", "yes", "yesterday",
    "young", "younger", "youngest", "yuan", "árabe", "él", "öffnen",
];

/// Words for numbers, with the number.
#[rustfmt::skip]
pub(super) const NUMBERS: &[(&str, &str)] = &[
    ("acht", "8"), ("achtzehn", "18"), ("billion", "1000000000"), ("both", "both"), ("catorce", "14"), ("cent", "100"),
    ("cero", "0"), ("cien", "100"), ("cinco", "5"), ("cinq", "5"), ("cuatro", "4"), ("dernier", "dernier"),
    ("dernière", "dernière"), ("deux", "2"), ("deuxième", "deuxième"), ("diecinueve", "19"), ("dieciocho", "18"),
    ("diecisiete", "17"), ("dieciséis", "16"), ("diez", "10"), ("dix", "10"), ("doble", "doble"), ("doce", "12"),
    ("doppelt", "doppelt"), ("dos", "2"), ("double", "double"), ("douze", "12"), ("dozen", "12"), ("drei", "3"),
    ("dreizehn", "13"), ("dreißig", "30"), ("dritte", "dritte"), ("dutzend", "12"), ("eight", "8"), ("eighteen", "18"),
    ("eighty", "80"), ("eins", "1"), ("eleven", "11"), ("elf", "11"), ("erste", "erste"), ("fifteen", "15"), ("fifth", "fifth"),
    ("fifty", "50"), ("first", "first"), ("five", "5"), ("forty", "40"), ("four", "4"), ("fourteen", "14"),
    ("fourth", "fourth"), ("fünf", "5"), ("fünfzehn", "15"), ("fünfzig", "50"), ("halb", "halb"), ("half", "half"),
    ("huit", "8"), ("hundert", "100"), ("hundred", "100"), ("hälfte", "hälfte"), ("last", "last"), ("letzte", "letzte"),
    ("mil", "1000"), ("mille", "1000"), ("million", "1000000"), ("mitad", "mitad"), ("moitié", "moitié"), ("neuf", "9"),
    ("neun", "9"), ("neunzehn", "19"), ("next", "next"), ("nine", "9"), ("nineteen", "19"), ("ninety", "90"), ("nueve", "9"),
    ("null", "0"), ("nächste", "nächste"), ("ocho", "8"), ("once", "once"), ("one", "1"), ("onze", "11"),
    ("premier", "premier"), ("première", "première"), ("primera", "primera"), ("primero", "primero"), ("quarter", "quarter"),
    ("quatorze", "14"), ("quatre", "4"), ("quince", "15"), ("quinze", "15"), ("sechs", "6"), ("sechzehn", "16"),
    ("second", "second"), ("segundo", "segundo"), ("seis", "6"), ("seize", "16"), ("sept", "7"), ("seven", "7"),
    ("seventeen", "17"), ("seventy", "70"), ("sieben", "7"), ("siebzehn", "17"), ("siete", "7"), ("six", "6"),
    ("sixteen", "16"), ("sixty", "60"), ("tausend", "1000"), ("ten", "10"), ("tercero", "tercero"), ("third", "third"),
    ("thirteen", "13"), ("thirty", "30"), ("thousand", "1000"), ("three", "3"), ("trece", "13"), ("treinta", "30"),
    ("treize", "13"), ("trente", "30"), ("tres", "3"), ("triple", "triple"), ("trois", "3"), ("troisième", "troisième"),
    ("twelve", "12"), ("twenty", "20"), ("twice", "twice"), ("two", "2"), ("veinte", "20"), ("vier", "4"), ("vierzehn", "14"),
    ("vierzig", "40"), ("vingt", "20"), ("zehn", "10"), ("zero", "0"), ("zwanzig", "20"), ("zwei", "2"), ("zweimal", "zweimal"),
    ("zweite", "zweite"), ("zwölf", "12"), ("zéro", "0"), ("última", "última"), ("último", "último"),
];

/// Words that tell a language from others.
#[rustfmt::skip]
pub(super) const LANGUAGES: [(&str, &[&str]); 4] = [
    ("de", &[
        "aber", "als", "auch", "auf", "aus", "bei", "bitte", "das", "dein", "dem", "den", "der", "des", "dich", "die", "dir",
        "du", "ein", "eine", "einem", "einen", "einer", "er", "es", "euch", "für", "haben", "hat", "heute", "ich", "ihr", "im",
        "ist", "kann", "kein", "keine", "mein", "mich", "mir", "mit", "nach", "nicht", "noch", "nur", "oder", "sehr", "sein",
        "sie", "sind", "und", "uns", "unter", "vom", "von", "wann", "warum", "welche", "welcher", "welches", "wenn", "wer",
        "werden", "wie", "wir", "wird", "wo", "wurde", "zu", "zum", "zur", "über",
    ]),
    ("en", &[
        "a", "about", "an", "and", "any", "are", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does", "for",
        "from", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "not",
        "of", "on", "or", "our", "out", "please", "she", "should", "some", "than", "that", "the", "their", "them", "then",
        "there", "these", "they", "this", "those", "to", "up", "us", "was", "we", "were", "what", "when", "where", "which",
        "who", "why", "will", "with", "would", "you", "your",
    ]),
    ("es", &[
        "al", "como", "con", "cuál", "cuáles", "cuándo", "cómo", "de", "del", "dónde", "el", "en", "es", "esta", "este", "está",
        "están", "hay", "la", "las", "le", "lo", "los", "me", "mi", "muy", "más", "no", "nos", "para", "pero", "por", "puede",
        "puedo", "que", "quién", "qué", "se", "ser", "si", "son", "su", "sus", "te", "tu", "un", "una", "y", "yo",
    ]),
    ("fr", &[
        "au", "aux", "avec", "c'est", "ce", "ces", "cette", "comment", "dans", "de", "des", "du", "elle", "elles", "en", "est",
        "est-ce", "et", "il", "ils", "je", "la", "le", "les", "ma", "mais", "mes", "mon", "ne", "nous", "ou", "où", "par",
        "pas", "peut", "peux", "plus", "pour", "pourquoi", "puis-je", "qu'est-ce", "quand", "que", "quel", "quelle", "quelles",
        "quels", "qui", "quoi", "sa", "se", "ses", "si", "son", "sont", "sur", "ta", "tes", "ton", "très", "tu", "un", "une",
        "vous", "être",
    ]),
];
