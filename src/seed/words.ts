// The words of the load-test data set.

export const FIRST_NAMES = words(
  "ada aino alva amir ana anton asha bela bruno carla chidi clara dalia daniel elif emil esra eva farid felix",
  "greta hana hugo ines ivan jonas julia kofi lena leo lina luca maja marek mira nadia noor olga omar otto",
  "paula rafi rosa samir selma sven tara theo tomas uma vera viktor wanda yara yusuf zoe",
);

export const LAST_NAMES = words(
  "abe adeyemi andersen baker bauer bergman castro chen costa demir diaz dubois eriksen farah fischer garcia",
  "haas hansen horvat ibrahim ito jansen keller khan kim kovac larsen lopez maier mensah moreau nagy novak",
  "okafor olsen ortiz park patel petrov rossi sato schmid silva singh sokolov tanaka torres vogel walsh weber",
);

/** Also the most used tags, in this order. */
export const TOPICS = words(
  "javascript programming typescript databases testing postgres design cooking gardening travel photography music",
  "books writing cycling hiking bread coffee linux security privacy networks compilers performance accessibility",
  "css html http json sql git editors keyboards terminals refactoring reviews debugging logging monitoring",
  "deployment backups migrations caching queues search statistics mathematics physics astronomy biology birds",
  "trees soil compost tomatoes herbs soup pasta rice curry cheese tea trains ferries islands mountains rivers",
  "cities maps languages history architecture museums film theatre poetry radio chess puzzles sewing woodwork",
  "ceramics bicycles running swimming climbing sleep health teaching mentoring hiring remote meetings planning",
  "estimates budgets energy weather climate oceans",
);

/** With a topic, a tag of the less used ones: `bread-basics`. */
export const ASPECTS = words(
  "basics notes history tools tips questions ideas mistakes patterns stories experiments recipes lessons diary",
  "guide reviews howto news theory practice",
);

export const OPENINGS = [
  "Notes on",
  "A year of",
  "What nobody says about",
  "Learning",
  "In praise of",
  "The trouble with",
  "A beginner's guide to",
  "Rethinking",
  "Field notes:",
  "Small steps in",
  "Five evenings with",
  "Why I came back to",
  "The quiet side of",
  "Mistakes I made with",
  "How we changed our minds about",
  "A short history of",
];

export const ENDINGS = [
  "for patient people",
  "at home",
  "in a small team",
  "without the hype",
  "on a rainy weekend",
  "the slow way",
  "after ten years",
  "for the rest of us",
  "one step at a time",
  "and what came of it",
  "on a budget",
  "in winter",
  "with borrowed tools",
  "by trial and error",
  "before breakfast",
  "from first principles",
];

export const REMARKS = [
  "Thank you, this cleared up something I had been wondering about for weeks.",
  "I tried it yesterday and it worked at the second attempt.",
  "Not sure that I agree with the last paragraph, but the rest is spot on.",
  "Could you say more about the part in the middle?",
  "We did the same two years ago and have not regretted it.",
  "Saved for later. I will need this on Monday.",
  "My grandmother would have said exactly the same.",
  "There is a small mistake in the second example, I think.",
  "It depends on the season, at least where I live.",
  "More of this, please.",
  "I had to read it twice, and it was worth it.",
  "How long did it take you in the end?",
  "The simplest explanation that I have seen so far.",
  "This is what I send to people who ask me how to begin.",
  "Has anybody tried it with less time and more people?",
  "I came for the title and stayed for the details.",
];

function words(...lines: string[]): string[] {
  return lines.join(" ").split(" ");
}
