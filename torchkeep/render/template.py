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
--soft: #f3f5f7; }
@media (prefers-color-scheme: dark) {
:root { --text: #e4e7eb; --back: #14171a; --line: #3a4149; --soft: #1e2328; }
}
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; \
font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { margin-top: 2.5rem; padding-top: 1rem; border-top: 1px solid var(--line); \
font-size: 1.25rem; }
p { max-width: 45rem; white-space: pre-line; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid var(--line); }
th { background: var(--soft); white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
svg { max-width: 100%; height: auto; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 1rem 0; }
.pictures figure { margin: 0; }
.pictures img { min-width: 6rem; max-width: 100%; image-rendering: pixelated; }
figcaption { max-width: 16rem; font-size: .85rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for section in sections %}
<section>
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
<td{% if cell.number %} class="number"{% endif %}>{{ cell.text }}</td>\
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
</section>
{% endfor %}
</body>
</html>
"""
