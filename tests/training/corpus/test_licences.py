"""Licences: which statements of a package let it into the corpus."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.training.corpus.licences import PERMISSIVE, from_expression, from_name
from engine.training.corpus.package_licence import (
    DebianCopyright,
    of_package_json,
    of_python_metadata,
)

_MIT_TEXT = """MIT License

Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files, to deal in the Software without restriction."""


@pytest.mark.parametrize(
    "name",
    [
        "MIT",
        "mit license",
        "The MIT License (MIT)",
        "MIT License",
        "Apache 2.0",
        "Apache-2.0",
        "Apache License, Version 2.0",
        "Apache Software License 2.0",
        "BSD",
        "BSD License",
        "BSD-3-Clause",
        "3-Clause BSD License",
        "New BSD",
        "BSD 3-Clause OR Apache-2.0",
        "PSF-2.0",
        "Python Software Foundation License",
        "ISC License",
        "ISC",
        "Unlicense",
        "0BSD",
        "CC0-1.0",
        "MIT OR GPL-2.0-only",
        "(MIT OR Apache-2.0)",
        "(MIT AND BSD-3-Clause) OR GPL-3.0-or-later",
        "Apache-2.0 WITH LLVM-exception",
        _MIT_TEXT,
    ],
)
def test_permissive(name: str) -> None:
    assert from_name(name, "License").is_permissive


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("GPL-3.0-or-later", "not permissive licence"),
        ("GPLv3", "not permissive licence"),
        ("GNU General Public License v2 (GPLv2)", "not permissive licence"),
        ("LGPL-2.1", "not permissive licence"),
        ("AGPL-3.0", "not permissive licence"),
        ("MPL-2.0", "not permissive licence"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "not permissive licence"),
        ("MIT AND GPL-2.0-only", "not permissive licence"),
        ("MPL-2.0 OR LGPL-3.0-only", "not permissive licence"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "not permissive licence"),
        ("Proprietary", "not permissive licence"),
        ("Other/Proprietary License", "not permissive licence"),
        ("BUSL-1.1", "unknown licence"),
        ("SEE LICENSE IN LICENSE.md", "unknown licence"),
        ("LicenseRef-Own", "unknown licence"),
        ("MIT AND", "unknown licence"),
        ("OR", "unknown licence"),
        ("MIT WITH", "unknown licence"),
        ("((((" * 5000, "unknown licence"),
        ("", "no licence is given"),
        ("UNKNOWN", "no licence is given"),
        ("MITnot", "unknown licence"),
        ("All rights reserved. Nobody may copy this text in any form. " * 5, "unknown licence"),
        ("GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007 " * 5, "not permissive licence"),
    ],
)
def test_not_permissive(name: str, refusal: str) -> None:
    assert from_name(name, "License").refusal == refusal


@pytest.mark.parametrize("expression", ["(MIT", "MIT)", "()", "AND MIT", "MIT OR OR MIT"])
def test_a_broken_expression_is_unknown(expression: str) -> None:
    assert from_expression(expression, "License-Expression").refusal == "unknown licence"


_LEAVES = st.sampled_from([*PERMISSIVE.values(), "GPL-3.0-only", "MPL-2.0", "Nobody-1.0"])


def _combined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.tuples(children, st.sampled_from(["AND", "OR"]), children)
    return parts.map(lambda part: f"({part[0]} {part[1]} {part[2]})")


@given(st.recursive(_LEAVES, _combined, max_leaves=8))
def test_an_expression_is_judged_as_python_judges_its_truth(expression: str) -> None:
    words = expression.replace("(", " ( ").replace(")", " ) ").split()
    truth = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    formula = " ".join(truth.get(word, str(word in PERMISSIVE.values())) for word in words)
    assert from_expression(expression, "").is_permissive == eval(formula)


def _of(*headers: str) -> str:
    text = "Metadata-Version: 2.1\nName: alpha\n" + "".join(f"{line}\n" for line in headers)
    licence = of_python_metadata(f"{text}\nLicense: GPL in the description\n".encode())
    return licence.refusal or licence.expression


_MIT_CLASSIFIER = "Classifier: License :: OSI Approved :: MIT License"
_GPL_CLASSIFIER = "Classifier: License :: OSI Approved :: GNU General Public License (GPL)"


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        (["License-Expression: MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
        (["License-Expression: GPL-2.0-only", _MIT_CLASSIFIER], "not permissive licence"),
        (["License: MIT"], "MIT"),
        (["License: UNKNOWN", _MIT_CLASSIFIER], "MIT"),
        (["Classifier: License :: OSI Approved", _MIT_CLASSIFIER], "MIT"),
        (["Classifier: License :: OSI Approved"], "no licence is given"),
        ([_MIT_CLASSIFIER, _GPL_CLASSIFIER], "not permissive licence"),
        (["License: GPLv3", _MIT_CLASSIFIER], "not permissive licence"),
        (["License: MIT", _GPL_CLASSIFIER], "not permissive licence"),
        (["License: see the file LICENSE", _MIT_CLASSIFIER], "MIT"),
        (["License: see the file LICENSE"], "unknown licence"),
        (["License: Apache-2.0", _MIT_CLASSIFIER], "Apache-2.0 AND MIT"),
        (["Classifier: License :: Public Domain"], "unknown licence"),
        (["Classifier: License :: OSI Approved :: ISC License (ISCL)"], "ISC"),
        (["Classifier: License :: OSI Approved :: Python Software Foundation License"], "PSF-2.0"),
        (["Classifier: License :: OSI Approved :: Apache Software License"], "Apache-2.0"),
        (["Classifier: License :: OSI Approved :: The Unlicense (Unlicense)"], "Unlicense"),
        ([], "no licence is given"),
    ],
)
def test_python_metadata(headers: list[str], outcome: str) -> None:
    assert _of(*headers) == outcome


def test_a_text_that_mentions_other_licences_far_below_needs_a_classifier() -> None:
    """Wheels append the licences of the libraries they carry to their own."""
    lines = (_MIT_TEXT + "\n filler" * 300 + "\nlibgfortran: GPL-3.0").replace("\n", "\n        ")
    assert _of(f"License: {lines}") == "several licences in one text"
    assert _of(f"License: {lines}", _MIT_CLASSIFIER) == "MIT"


@pytest.mark.parametrize(
    ("package", "outcome"),
    [
        ({"license": "MIT"}, None),
        ({"license": {"type": "ISC", "url": "x"}}, None),
        ({"licenses": [{"type": "MIT"}, {"type": "Apache-2.0"}]}, None),
        ({"licenses": [{"type": "MIT"}, {"type": "GPL-2.0"}]}, "not permissive licence"),
        ({"license": "UNLICENSED"}, "proprietary licence"),
        ({"license": "Unlicense"}, None),
        ({"license": "SEE LICENSE IN LICENSE"}, "unknown licence"),
        ({"license": 7}, "no licence is given"),
        ({"license": [None]}, "no licence is given"),
        ({"private": True}, "no licence is given"),
        ({}, "no licence is given"),
    ],
)
def test_package_json(package: dict[str, object], outcome: str | None) -> None:
    assert of_package_json(json.loads(json.dumps(package))).refusal == outcome


_COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 Somebody
License: MIT or Apache-2.0

Files: debian/*
Copyright: 2021 A Packager
License: GPL-2+

Files: internal/foreign.go
  third/*
Copyright: 2019 Another
License: GPL-3

License: MIT
 Permission is hereby granted
"""


def test_debian_copyright() -> None:
    parsed = DebianCopyright.parse(_COPYRIGHT)
    assert parsed is not None
    assert parsed.package.is_permissive and parsed.package.expression == "MIT or Apache-2.0"
    assert parsed.refuses("internal/foreign.go") and parsed.refuses("third/x/y.go")
    assert not parsed.refuses("internal/own.go")


def test_a_debian_copyright_without_form_is_unknown() -> None:
    assert DebianCopyright.parse("This package is free software; see the GPL.") is None


def test_a_debian_copyright_without_a_paragraph_for_all_needs_all_of_them() -> None:
    text = (
        "Files: a/*\nLicense: Expat\n\nFiles: b/*\nLicense: {}\n\nFiles: debian/*\nLicense: GPL-2\n"
    )
    good, bad = (DebianCopyright.parse(text.format(name)) for name in ("ISC", "GPL-2"))
    assert good is not None and good.package.is_permissive
    assert bad is not None and not bad.package.is_permissive
