"""The template of a page, for jinja2; style and pictures are inside, and scripts are forbidden."""

TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --text: #1c2024; --back: #ffffff; --line: #d5d9de; \
--soft: #f3f5f7; --good: #1b7f4b; --warn: #9a6700; --bad: #b3261e; --heat: #cfe3f3; }
@media (prefers-color-scheme: dark) {
:root { --text: #e4e7eb; --back: #14171a; --line: #3a4149; --soft: #1e2328; \
--good: #5cc28b; --warn: #e0b34a; --bad: #ff8a80; --heat: #1d4766; }
}
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 4rem; \
font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { margin-top: 2.5rem; padding-top: 1rem; border-top: 1px solid var(--line); \
font-size: 1.25rem; }
p { max-width: 45rem; white-space: pre-line; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid var(--line); }
th { background: var(--soft); white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
svg { max-width: 100%; height: auto; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 1rem 0; }
.pictures figure { margin: 0; }
.pictures img { min-width: 6rem; max-width: 100%; image-rendering: pixelated; }
.good, .warn, .bad { margin: 1.5rem 0; padding: .6rem 1.2rem; background: var(--soft); \
border-left: .4rem solid var(--good); }
.warn { border-left-color: var(--warn); }
.bad { border-left-color: var(--bad); }
.good h2, .warn h2, .bad h2 { margin: 0; padding-top: .4rem; border-top: 0; }
.good p:first-of-type, .warn p:first-of-type, .bad p:first-of-type { font-weight: 600; }
.good td:first-child, .warn td:first-child, .bad td:first-child { font-weight: 600; }
nav ul { columns: 16rem; padding-left: 1.2rem; }
nav a { color: inherit; }
td { overflow-wrap: break-word; vertical-align: top; }
h1, h2, p, figcaption, nav { overflow-wrap: anywhere; }
.heat { background-image: linear-gradient(var(--heat), var(--heat)); background-repeat: no-repeat; }
.triple { display: grid; grid-template-columns: repeat(3, 6rem); gap: .3rem; }
.triple img { width: 6rem; }
.triple span { font-size: .75rem; }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } \
.scroll { overflow: visible; } }
figcaption { max-width: 16rem; font-size: .85rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for section in sections %}
<section id="part-{{ loop.index }}"{% if section.tone != "plain" %} class="{{ section.tone }}"\
{% endif %}>
<h2>{{ section.title }}</h2>
{% for paragraph in section.paragraphs %}
<p>{{ paragraph }}</p>
{% endfor %}
{% if section.svg %}
<figure>
{{ section.svg | safe }}
</figure>
{% endif %}
{% if section.table %}
<div class="scroll" role="region" aria-label="{{ section.title }}" tabindex="0">
<table>
<thead><tr>{% for cell in section.table.head %}\
<th scope="col"{% if cell.number %} class="number"{% endif %}>{{ cell.text }}</th>\
{% endfor %}</tr></thead>
<tbody>
{% for row in section.table.body %}
<tr>{% for cell in row %}\
<td{% if cell.heat is defined %} class="number heat" style="background-size: {{ cell.heat }}% 100%"\
{% elif cell.number %} class="number"{% endif %}>{{ cell.text }}</td>\
{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{% if section.pictures %}
<div class="pictures">
{% for picture in section.pictures %}
<figure><img src="{{ picture.address }}" alt="{{ picture.caption }}">\
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
</div>
{% endif %}
{% if section.triples %}
<div class="pictures">
{% for triple in section.triples %}
<figure><div class="triple">
{% for picture in triple.pictures %}
<div><img src="{{ picture.address }}" alt="{{ picture.name }}: {{ triple.caption }}"><br>\
<span>{{ picture.name }}</span></div>
{% endfor %}
</div><figcaption>{{ triple.caption }}</figcaption></figure>
{% endfor %}
</div>
{% endif %}
</section>
{% if contents and loop.first %}
<nav aria-label="Contents"><ul>
{% for part in sections %}
<li><a href="#part-{{ loop.index }}">{{ part.title }}</a></li>
{% endfor %}
</ul></nav>
{% endif %}
{% endfor %}
</body>
</html>
"""
