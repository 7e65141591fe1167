"""Body regions: what a series says that it shows, in codes, in defined terms, and in words of several languages.

Sources: PS3.16 CID 4 (Anatomic Region) and Annex L (defined terms of BodyPartExamined, with their codes).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from enum import StrEnum


class Region(StrEnum):
    """Part of the body, as coarse as a route needs it."""

    HEAD = "head"
    NECK = "neck"
    CHEST = "chest"
    BREAST = "breast"
    ABDOMEN = "abdomen"
    PELVIS = "pelvis"
    SPINE = "spine"
    UPPER_LIMB = "upper-limb"
    LOWER_LIMB = "lower-limb"
    WHOLE_BODY = "whole-body"


class Side(StrEnum):
    """Side of the body, as Laterality (0020,0060) has it."""

    LEFT = "L"
    RIGHT = "R"


_CODES: Mapping[Region, str] = {
    Region.HEAD: "69536005 12738006 774007 89546000 T-D1100 T-A0100 T-D1400 T-11100",
    Region.NECK: "45048000 69748006 T-D1600 T-B6000",
    Region.CHEST: "51185008 43799004 39607008 80891009 816094009 T-D3000 T-28000 T-32000",
    Region.BREAST: "76752008 80248007 73056007 63762007 T-04000 T-04020 T-04030 T-04080",
    Region.ABDOMEN: "818981001 818983003 113345001 10200004 64033007 15776009 78961009 T-D4000 T-62000 T-71000 T-65000",
    Region.PELVIS: "816092008 12921003 41216001 35039007 89837001 T-D6000 T-92000 T-83000 T-74000",
    Region.SPINE: "421060004 122494005 122495006 122496007 54735007 T-D04FF T-11501 T-11502 T-11503",
    Region.UPPER_LIMB: "53120007 16982005 40983000 16953009 14975008 8205005 85562004 T-D8000 T-D2220 T-D8300 T-D8700",
    Region.LOWER_LIMB: "61685007 24136001 68367000 72696002 30021000 344001 56459004 T-D9000 T-D9100 T-D9400 T-D9700",
    Region.WHOLE_BODY: "38266002 T-D0010",
}
_REGION_OF_CODE = {code: region for region, codes in _CODES.items() for code in codes.split()}

_TERMS: Mapping[Region, str] = {
    Region.HEAD: "HEAD BRAIN SKULL ORBIT PITUITARY SELLA FACE SINUS IAC EAR TMJ JAW MAXILLA MANDIBLE CEREBELLUM",
    Region.NECK: "NECK THYROID LARYNX PHARYNX CAROTID",
    Region.CHEST: "CHEST LUNG THORAX HEART MEDIASTINUM RIB STERNUM CORONARYARTERY",
    Region.BREAST: "BREAST",
    Region.ABDOMEN: "ABDOMEN LIVER KIDNEY PANCREAS SPLEEN STOMACH COLON GALLBLADDER ADRENAL BILEDUCT",
    Region.PELVIS: "PELVIS PROSTATE UTERUS BLADDER RECTUM OVARY SACRUM",
    Region.SPINE: "SPINE CSPINE TSPINE LSPINE SSPINE WHOLESPINE COCCYX",
    Region.UPPER_LIMB: "ARM SHOULDER ELBOW WRIST HAND FINGER HUMERUS RADIUS ULNA FOREARM CLAVICLE SCAPULA THUMB",
    Region.LOWER_LIMB: "LEG HIP KNEE ANKLE FOOT TOE THIGH FEMUR TIBIA FIBULA CALF PATELLA CALCANEUS",
    Region.WHOLE_BODY: "WHOLEBODY",
}
_REGIONS_OF_TERM = {term: frozenset({region}) for region, terms in _TERMS.items() for term in terms.split()} | {
    "HEADNECK": frozenset({Region.HEAD, Region.NECK}),
    "CHESTABDOMEN": frozenset({Region.CHEST, Region.ABDOMEN}),
    "ABDOMENPELVIS": frozenset({Region.ABDOMEN, Region.PELVIS}),
    "CHESTABDPELVIS": frozenset({Region.CHEST, Region.ABDOMEN, Region.PELVIS}),
    "CAP": frozenset({Region.CHEST, Region.ABDOMEN, Region.PELVIS}),
    "TLSPINE": frozenset({Region.SPINE}),
    "EXTREMITY": frozenset({Region.UPPER_LIMB, Region.LOWER_LIMB}),
}

# English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Swedish, Japanese, Chinese; without accents.
# A word counts from its beginning: «cerebr» stands for cerebral, cerebro, cerebrum.
_WORDS: Mapping[Region, str] = {
    Region.HEAD: (
        r"heads?\b brain cranial craniu cranio skull pituitar orbit kopf schadel hirn gehirn cerebr "
        r"encephal tete\b crane\b cerveau cabeza cerebro encefal craneo testa\b cervello cabeca hersen "
        r"hoofd schedel glow[aey]\b mozg huvud hjarn skalle 頭 脳 头 脑 颅"
    ),
    Region.NECK: (
        r"neck\b thyroid hals\b halsweich schilddrus \bcou\b thyroid cuello tiroid collo\b pescoco szyi "
        r"szyja 頸部 颈部"
    ),
    Region.CHEST: (
        r"chest thora torac torax lungs?\b lunge pulmon poumon polmon pecho\b brustkorb klatk longen "
        r"brostkorg heart\b cardiac herz coeur corazon cuore 胸 肺"
    ),
    Region.BREAST: (r"breast mammo mamma\b mammae sein\b seins\b mama\b mamas\b mammell borst\b piersi 乳"),
    Region.ABDOMEN: (
        r"abdom liver hepat renal kidney pancrea bauch oberbauch leber niere foie\b rein\b reins\b higado "
        r"fegato ventre\b buik brzuch jamy.?brzusz 腹 肝 腎 肾"
    ),
    Region.PELVIS: (r"pelvi prostat uter becken bassin\b bacino bekken miednic backen\b 骨盤 骨盆 盆腔 前列腺"),
    Region.SPINE: (
        r"spin(?:e|al)\b c.?spine l.?spine t.?spine lumba vertebr wirbels hws\b bws\b lws\b rachis "
        r"columna\b colonna\b coluna\b rug\b wervel kregos rygg 脊 頸椎 腰椎 颈椎"
    ),
    Region.UPPER_LIMB: (
        r"shoulder elbow wrist hand\b hands\b forearm humer arm\b arms\b upper.?(?:limb|extrem) schulter "
        r"ellenbog handgelenk oberarm unterarm epaule coude\b poignet bras\b hombro codo\b muneca brazo "
        r"spalla gomito polso ombro cotovelo punho schouder elleboog pols\b bark\b lokiec nadgarst 肩 肘 "
        r"手"
    ),
    Region.LOWER_LIMB: (
        r"knees?\b hips?\b ankle foot\b feet\b thigh calf\b leg\b legs\b femor femur tibia "
        r"lower.?(?:limb|extrem) knie hufte oberschenkel unterschenkel sprunggelenk fuss\b bein\b beine\b "
        r"genou hanche cuisse cheville jambe rodilla cadera muslo tobillo pierna ginocchio anca\b coscia "
        r"caviglia gamba joelho quadril coxa\b tornozelo heup dijbeen enkel voet kolan biodr udo\b kna\b "
        r"hoft lar\b 膝 股 足 下肢"
    ),
    Region.WHOLE_BODY: (
        r"whole.?body total.?body ganzkorper corps.?entier cuerpo.?entero total.?korper "
        r"skull.?base.?to.?mid.?thigh 全身"
    ),
}
_ASIAN = re.compile(r"[^\x00-\u02ff]")


def _pattern(words: str) -> re.Pattern[str]:
    # Words of scripts without spaces are looked for anywhere; others from the beginning of a word.
    parts = [word if _ASIAN.search(word) else rf"(?<![^\W\d_]){word}" for word in words.split()]
    return re.compile("|".join(parts))


def _whole_words(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])")


_PATTERNS = {region: _pattern(words) for region, words in _WORDS.items()}
_HEADS_OF_BONES = (
    re.compile(r"(femoral|humeral|radial|fibular|metatarsal|pancrea\w*)\s+heads?"),
    re.compile(r"heads?\s+of\s+(?:the\s+)?(femur|humerus|radius|pancreas)"),
)
"""Heads that are not the head."""
_LEFT = re.compile(
    r"(?<![^\W\d_])(?:left|lt|links|linke[rns]?|gauche|izquierd[ao]|sinistr[ao]|esquerd[ao]|lew[aey]|左)(?![^\W\d_])"
)
_RIGHT = re.compile(
    r"(?<![^\W\d_])(?:right|rt|rechts|rechte[rns]?|droite?|derech[ao]|destr[ao]|direit[ao]|praw[aey]|右)(?![^\W\d_])"
)


def of_codes(codes: Iterable[str]) -> frozenset[Region]:
    """Return the regions that code values of AnatomicRegionSequence name (SNOMED CT or its DICOM precursor)."""
    return frozenset(_REGION_OF_CODE[code.strip()] for code in codes if code.strip() in _REGION_OF_CODE)


def of_term(body_part_examined: str) -> frozenset[Region]:
    """Return the regions of a value of BodyPartExamined: a defined term, or else whatever words it holds."""
    term = re.sub(r"[\s_^-]", "", body_part_examined).upper()
    return _REGIONS_OF_TERM.get(term) or of_words(body_part_examined)


def of_words(*texts: str) -> frozenset[Region]:
    """Return the regions that descriptions name in any of the known languages."""
    text = plain(" ".join(texts))
    for head_of_bone in _HEADS_OF_BONES:
        text = head_of_bone.sub(r"\1", text)
    return frozenset(region for region, pattern in _PATTERNS.items() if pattern.search(text))


def sides_of_words(*texts: str) -> frozenset[Side]:
    """Return the sides of the body that descriptions name."""
    text = plain(" ".join(texts))
    found = ((Side.LEFT, _LEFT), (Side.RIGHT, _RIGHT))
    return frozenset(side for side, pattern in found if pattern.search(text))


def plain(text: str) -> str:
    """Return a text in lower case, without accents and with spaces for what joins words in the field (``_ ^ / -``)."""
    return _without_accents(re.sub(r"[_^/-]", " ", text)).casefold()


def matches(pattern: str, text: str) -> bool:
    """Say whether a regular expression matches anywhere in a plain text, whatever its own case and accents."""
    return re.search(_without_accents(pattern), plain(text), re.IGNORECASE) is not None


def _without_accents(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text).replace("ł", "l").replace("Ł", "l")
    letters = "".join(character for character in apart if not unicodedata.combining(character))
    return letters.replace("ß", "ss").replace("ø", "o")
