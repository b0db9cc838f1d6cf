// A page's slider, its links between words and cells, and heat maps laid out when they are needed.
// All numbers come from the tables, of which a long text has one a line.
(() => {
'use strict'
const all = (root, selector) => [...root.querySelectorAll(selector)]
const make = (tag, properties) => Object.assign(document.createElement(tag), properties)
const asked = () => new URLSearchParams(location.hash.slice(1))
const address = where => {
  try { history.replaceState(null, '', '#' + where) } catch { /* not from every disk */ }
}
const articles = all(document, 'article')
const texts = new Map()
let dropped = false

function open(article) {
  if (texts.has(article)) return texts.get(article)
  const scroll = article.querySelector('.scroll')
  scroll.innerHTML = scroll.firstElementChild.textContent
  const lines = all(scroll, 'table').map(table => [...table.tBodies[0].rows].reverse())
  const names = lines[0].map(row => row.cells[0].textContent.trim())
  const cells = names.map((_, k) => lines.flatMap(rows => [...rows[k].cells].slice(1)))
  const heads = all(scroll, '[scope=col]')
  const words = all(article, '.text span')
  const points = all(article, '.at')
  const told = article.querySelector('.told')
  const cell = (token, layer) => cells[layer][token]
  const top = names.length - 1
  let layer = top, active = 0, lit = []

  // The first layer from which a token is never kept again; one more than the top if there is none.
  const drops = words.map((_, token) => {
    let k = names.length
    while (k > 0 && +cell(token, k - 1).title <= .5) k--
    return k
  })

  words.forEach((word, token) => {
    heads[token].classList.toggle('special', word.classList.contains('special'))
  })

  const slider = make('input', {type: 'range', min: 0, max: top, value: top})
  slider.setAttribute('aria-label', 'Layer')
  const box = make('div', {className: 'slider'})
  const output = make('output', {})
  output.setAttribute('aria-live', 'polite')
  if (top > 0) box.append(slider)
  if (told) {
    article.querySelector('.plot').append(box)
    told.after(output)
  } else (scroll.closest('details') || scroll).before(box, output)

  function paint() {
    words.forEach((word, token) => {
      const special = word.classList.contains('special') ? ' special' : ''
      const on = word.classList.contains('lit') ? ' lit' : ''
      const look = dropped ? 'v' + Math.round(100 * drops[token] / names.length)
                           : cell(token, layer).classList[0]
      word.className = look + special + on
      word.title = dropped ? said(token) : cell(token, layer).title
      if (dropped && word.textContent && names[drops[token]]) word.dataset.at = names[drops[token]]
      else delete word.dataset.at
    })
    lines.forEach(rows => rows.forEach((row, k) => row.classList.toggle('now', k === layer)))
    points.forEach((point, k) => point.classList.toggle('on', k === layer))
    if (told) told.textContent = points[layer].firstElementChild.textContent
    slider.value = layer
    slider.setAttribute('aria-valuetext', `${names[layer]} ${lines[0][layer].cells[0].title}`)
  }
  function show(k) {
    layer = Math.min(Math.max(k, 0), top)
    paint()
  }
  const said = token => {
    const at = names[drops[token]]
    return at ? `dropped at layer ${at}` : 'never dropped'
  }
  function link(token, k) {
    clear()
    active = token
    lit = [words[token], heads[token], cell(token, k).parentNode, ...cells.map(row => row[token])]
    lit.forEach(element => element.classList.add('lit'))
    const name = words[token].textContent || heads[token].textContent
    output.textContent = `${name}: kept with probability ${cell(token, k).title} at layer ` +
      `${names[k]}, ${said(token)}`
  }
  function clear() {
    lit.forEach(element => element.classList.remove('lit'))
    lit = []
    output.textContent = ''
  }
  function find(target) {
    const word = words.indexOf(target.closest('.text span'))
    if (word >= 0) return [word, layer]
    const head = heads.indexOf(target.closest('[scope=col]'))
    if (head >= 0) return [head, layer]
    const k = cells.findIndex(row => row.includes(target.closest('td')))
    return k >= 0 && [cells[k].indexOf(target.closest('td')), k]
  }
  function share() {
    const place = {text: articles.indexOf(article) + 1, layer: names[layer]}
    address(new URLSearchParams(dropped ? {...place, view: 'dropped'} : place))
  }

  article.addEventListener('mouseover', event => {
    const found = find(event.target)
    if (found) link(...found); else clear()
  })
  article.addEventListener('mouseleave', clear)
  slider.addEventListener('input', () => { show(+slider.value); share() })
  points.forEach((point, k) => point.addEventListener('click', () => { show(k); share() }))
  const reader = article.querySelector('.pair, .text')
  reader.tabIndex = 0
  reader.setAttribute('role', 'group')
  reader.setAttribute('aria-label', 'The text. Left and right: from token to token; up and down: layers')
  reader.addEventListener('focus', () => link(active, layer))
  reader.addEventListener('blur', clear)
  reader.addEventListener('keydown', event => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return
    const [sideways, upwards] = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
    }[event.key] || []
    if (sideways === undefined) return
    event.preventDefault()
    if (upwards) { show(layer + upwards); share() }
    const text = words[active].closest('.text')
    const ahead = getComputedStyle(text).direction === 'rtl' ? -sideways : sideways
    link(Math.min(Math.max(active + ahead, 0), words.length - 1), layer)
  })

  const text = {paint, show, names, top}
  texts.set(article, text)
  follow(article)
  return text
}

// What the address asks for, of one text.
function follow(article) {
  const text = texts.get(article), where = asked(), number = where.get('text')
  const meant = !number || articles[number - 1] === article
  const layer = meant ? text.names.indexOf(where.get('layer')) : -1
  text.show(layer < 0 ? text.top : layer)
}
function view(drop) {
  dropped = drop
  all(document, '.views input').forEach(input => { input.checked = (input.value === 'dropped') === drop })
  document.querySelector('.legend').hidden = drop
  document.querySelector('.drops').hidden = !drop
  texts.forEach(text => text.paint())
}
function arrive() {
  view(asked().get('view') === 'dropped')
  texts.forEach((_, article) => follow(article))
  const article = articles[asked().get('text') - 1]
  if (article) { open(article); article.scrollIntoView() }
}

const views = make('fieldset', {className: 'views'})
views.innerHTML = '<legend>Words show</legend>' +
  '<label><input type=radio name=view value=layer checked> one layer</label> ' +
  '<label><input type=radio name=view value=dropped> the layer at which they are dropped</label>'
views.addEventListener('change', event => {
  view(event.target.value === 'dropped')
  const where = asked()
  if (dropped) where.set('view', 'dropped'); else where.delete('view')
  address(where)
})
document.querySelector('header').append(views)

const near = new IntersectionObserver(seen => seen.forEach(({isIntersecting, target}) => {
  if (isIntersecting) { near.unobserve(target); open(target) }
}), {rootMargin: '400px'})
articles.forEach(article => near.observe(article))
addEventListener('beforeprint', () => articles.forEach(open))
addEventListener('hashchange', arrive)
arrive()
})()
