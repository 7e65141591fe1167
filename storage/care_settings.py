"""Where patients are cared for, as triage policies ask: emergency, ward, or from outside."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum


class CareSetting(StrEnum):
    """Where the patient of a study is cared for."""

    EMERGENCY = "emergency"
    INPATIENT = "inpatient"
    OUTPATIENT = "outpatient"


_STAT = "STAT"
"""The one value of Requested Procedure Priority (0040,1003) that says something of the patient (PS3.3 C.4.11)."""

# Words and beginnings of words (with *), without accents and in small letters, as hospitals write them in English,
# German, French, Spanish, Italian, Portuguese, Dutch, Swedish, Danish, Norwegian, Finnish, Polish, Czech and Turkish.
# Short forms that also mean something else in a place or department (ER, ED, IC, PS) count as a whole value alone.
_WORDS: Mapping[CareSetting, str] = {
    CareSetting.EMERGENCY: (
        "emergency emergencies casualty a&e accident*and*emergency trauma*room trauma*bay resus* shock*room schockraum"
        " notfall* notaufnahme zna rettungsstelle notaufn* urgence urgences sau dechocage urgencias urgencia urgencies"
        " emergencias pronto*soccorso dea spoedeisende spoed seh eerste*hulp akutmottagning* akuten akutmodtagelse*"
        " skadestue* akuttmottak* legevakt* paivystys* sor oddzial*ratunkowy urgentni*prijem acil*"
    ),
    CareSetting.OUTPATIENT: (
        "outpatient outpatients opd ambulatory ambulatorio ambulatorios ambulatoriale ambulatoire ambulant ambulanz*"
        " ambulante day*clinic tagesklinik hochschulambulanz poliklini* policlinic* externe externes consultation*"
        " consultas consulta consultorio* consultorios hopital*de*jour day*hospital polikliniek dagbehandeling"
        " oppenvard* mottagning* dagkirurgi* poradnia* przychodnia* ambulance*interni poliklinika* poliklinik*"
    ),
    CareSetting.INPATIENT: (
        "inpatient inpatients ward wards icu picu nicu itu hdu intensive*care critical*care intensivstation*"
        " intensiv* its imc station stationar stationaer bettenhaus hospitalisation hospitalise* reanimation usi usic"
        " soins*intensifs uci planta hospitalizacion hospitalizado* terapia*intensiva rianimazione reparto degenza"
        " ricovero internamento enfermaria uti verpleegafdeling* klinische*afdeling vardavdelning* avdelning*"
        " sengeafdeling* sengepost* vuodeosasto* oddzial* luzkove* yatan* servis*yatak"
    ),
}
"""In the order of asking: what names both an emergency and a ward is an emergency."""
_UNMARKED = str.maketrans({"\u0142": "l", "\u00f8": "o", "\u0131": "i", "\u00df": "ss", "\u00e6": "ae"})
"""Letters that have no plain one to fall apart into: Polish l, Danish o and ae, Turkish i, German sharp s."""
_ALONE: Mapping[str, CareSetting] = {
    "er": CareSetting.EMERGENCY,
    "ed": CareSetting.EMERGENCY,
    "ae": CareSetting.EMERGENCY,
    "ina": CareSetting.EMERGENCY,
    "ps": CareSetting.EMERGENCY,
    "ic": CareSetting.INPATIENT,
    "op": CareSetting.OUTPATIENT,
    "ip": CareSetting.INPATIENT,
}


def _pattern(words: str) -> re.Pattern[str]:
    """Compile words of a list: a star within one stands for a space, at its end for any ending."""
    alternatives = (
        re.escape(word.removesuffix("*")).replace(r"\*", " ") + ("" if word.endswith("*") else r"(?![a-z])")
        for word in words.split()
    )
    return re.compile(rf"(?<![a-z])(?:{'|'.join(alternatives)})")


_PATTERNS: Mapping[CareSetting, re.Pattern[str]] = {setting: _pattern(words) for setting, words in _WORDS.items()}


def setting_of_order(*, priority: str = "", location: str = "", department: str = "") -> CareSetting | None:
    """Return the setting that an order's words speak of, None where they do not say.

    ``priority`` is Requested Procedure Priority (0040,1003), ``location`` Current Patient Location (0038,0300),
    ``department`` Institutional Department Name (0008,1040). Where the patient is says more than where the scanner is.
    """
    if priority.strip().upper() == _STAT:
        return CareSetting.EMERGENCY
    return _of_words(location) or _of_words(department)


def _of_words(text: str) -> CareSetting | None:
    plain = _plain(text)
    if plain in _ALONE:
        return _ALONE[plain]
    return next((setting for setting, pattern in _PATTERNS.items() if pattern.search(plain)), None)


def _plain(text: str) -> str:
    """Return a text in small letters, without accents and marks, with single spaces."""
    letters = unicodedata.normalize("NFKD", text.lower().translate(_UNMARKED))
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.sub(r"[^a-z0-9&]+", " ", bare).split())
