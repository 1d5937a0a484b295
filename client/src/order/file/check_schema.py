"""Holds the JSON Schema of compute-manifest.yaml against files whose verdict is known.

Usage: check_schema.py SCHEMA EXAMPLE CASES, with jsonschema_rs and PyYAML.
"""

import json
import sys

import jsonschema_rs
import yaml


def main(schema_path, example_path, cases_path):
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema_rs.meta.validate(schema)
    validator = jsonschema_rs.validator_for(schema)
    with open(example_path, encoding="utf-8") as file:
        files = [("the example", True, file.read())]
    with open(cases_path, encoding="utf-8") as file:
        files += [(case["text"], case["schema"], case["text"]) for case in yaml.safe_load(file)]
    wrong = 0
    for name, expected, text in files:
        if validator.is_valid(yaml.safe_load(text)) != expected:
            wrong += 1
            print(f"the schema should {'take' if expected else 'refuse'} this:\n{name}")
    print(f"{len(files)} files, {wrong} with the wrong verdict")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
