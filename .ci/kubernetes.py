"""Validates the custom resources of a file against the schema of their definition, and rejects unknown members.

    python kubernetes.py definition.yaml resources.yaml
"""

import sys

import jsonschema
import yaml


def strict(schema):
    """A copy of a schema in which objects with known members have no others."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: strict(value) for key, value in schema.items()}
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        copy.setdefault("additionalProperties", False)
    return copy


definition = yaml.safe_load(open(sys.argv[1]))
kind = definition["spec"]["names"]["kind"]
schema = strict(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
# The definition leaves them to Kubernetes.
schema["properties"]["metadata"] = {"type": "object"}
resources = [item for item in yaml.safe_load_all(open(sys.argv[2])) if item and item["kind"] == kind]
if not resources:
    sys.exit(f"{sys.argv[2]} has no {kind}")
for resource in resources:
    jsonschema.validate(resource, schema)
