"""Reads a page of metrics, as Prometheus' own library does, and says what is in it: FORMAT < page"""
import sys
from prometheus_client import openmetrics, parser
import prometheus_client.openmetrics.parser

readers = {
    "openmetrics": openmetrics.parser.text_string_to_metric_families,
    "classic": parser.text_string_to_metric_families,
}
names = set()
for family in readers[sys.argv[1]](sys.stdin.read()):
    assert family.name not in names, f"{family.name} is there twice"
    assert family.documentation.endswith("."), f"{family.name} has no sentence that says what it is"
    names.add(family.name)
    print("family", family.name, family.type, family.unit)
    for sample in family.samples:
        print("sample", sample.name, sorted(sample.labels.items()))
