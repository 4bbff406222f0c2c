document.addEventListener('click', (e) => {
  const link = e.target.closest('a[href^="#ll-"]');
  if (link) {
    const target = document.querySelector(link.hash),
      row = target?.closest('.ll-table tr');
    if (row) row.hidden = false;
    document.querySelectorAll('.ll-here').forEach((x) => x.classList.remove('ll-here'));
    const i = link.hash.match(/\d+$/);
    if (row) row.classList.add('ll-here');
    else if (i)
      document.querySelectorAll(`.ll-contract mark[data-finds~="${i}"]`).forEach((m) => m.classList.add('ll-here'));
  } else if (!getSelection().toString()) {
    // who selects words does not want to go elsewhere
    const row = e.target.closest('.ll-table tr'),
      mark = e.target.closest('.ll-contract mark');
    const inside = mark && document.getElementById('ll-' + mark.dataset.finds.split(' ').pop());
    (row?.querySelector('a[href]') ?? inside)?.click();
  }
});
