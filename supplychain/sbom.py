"""The bill of materials: CycloneDX 1.6, for every platform, from the locks and the list of licences alone.

Made here and not by cyclonedx-bom: that reads an environment (this platform's, with the tools of development) or a
requirements file (without licences and without what needs what), and nothing of npm; the outcome would have to be
mended. `python3 dev.py audit` holds it against the schema of the standard, with the library of its authors.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import hub
from supplychain.licences import ships
from supplychain.locks import ROOT, Package

BILL = ROOT / "docs" / "sbom.cdx.json"

_NAMESPACE = uuid.UUID("6b1b36cf-27c4-4e0c-9d1e-5f0a2d9f6c11")


def written(packages: Sequence[Package], licences: Mapping[str, str]) -> str:
    """The document; the same bytes for the same packages. What only builds the page has the scope `excluded`."""
    root = f"pkg:pypi/agent-hub@{hub.__version__}"
    body = {
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": "agent-hub",
                "version": hub.__version__,
                "purl": root,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [_component(one, licences.get(one.purl) or one.licence) for one in packages],
        "dependencies": [
            {"ref": root, "dependsOn": sorted(one.purl for one in packages if one.direct)},
            *({"ref": one.purl, "dependsOn": sorted(one.needs)} for one in packages),
        ],
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(body, sort_keys=True))
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **body,
    }
    return json.dumps(document, indent=1) + "\n"


def _component(package: Package, licence: str | None) -> dict[str, Any]:
    group, _, name = package.name.rpartition("/")
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": name,
        "version": package.version,
        "purl": package.purl,
        "scope": _scope(package),
    }
    if group:
        component["group"] = group
    if licence is not None:
        component["licenses"] = [{"expression": licence} if " " in licence else {"license": {"id": licence}}]
    if package.sha512 is not None:
        component["hashes"] = [{"alg": "SHA-512", "content": package.sha512}]
    return component


def _scope(package: Package) -> str:
    if not ships(package):
        return "excluded"
    return "optional" if package.part in ("langchain", "local model") else "required"
