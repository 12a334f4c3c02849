"""Facts and phrases of the synthetic instruction records, in this project's own words."""

ANIMALS = [
    ("otter", "mammal", "rivers", "fish"), ("heron", "bird", "wetlands", "frogs"), ("gecko", "reptile", "warm walls", "moths"),
    ("salmon", "fish", "cold rivers and the sea", "shrimps"), ("badger", "mammal", "woodland", "worms"),
    ("kestrel", "bird", "farmland", "voles"), ("tortoise", "reptile", "dry scrub", "leaves"), ("carp", "fish", "ponds", "plants"),
    ("bat", "mammal", "caves and lofts", "insects"), ("puffin", "bird", "sea cliffs", "sand eels"),
    ("iguana", "reptile", "tropical forest", "fruit"), ("tuna", "fish", "open ocean", "squid"),
    ("moose", "mammal", "northern forest", "twigs"), ("owl", "bird", "barns", "mice"), ("cobra", "reptile", "grassland", "rats"),
]
CITIES = [
    ("Lisbon", "Portugal", "Europe"), ("Nairobi", "Kenya", "Africa"), ("Hanoi", "Vietnam", "Asia"), ("Lima", "Peru", "South America"),
    ("Oslo", "Norway", "Europe"), ("Accra", "Ghana", "Africa"), ("Tokyo", "Japan", "Asia"), ("Quito", "Ecuador", "South America"),
    ("Vienna", "Austria", "Europe"), ("Rabat", "Morocco", "Africa"), ("Amman", "Jordan", "Asia"), ("Bogota", "Colombia", "South America"),
    ("Helsinki", "Finland", "Europe"), ("Dakar", "Senegal", "Africa"), ("Seoul", "South Korea", "Asia"),
]
DISHES = [
    ("lentil soup", "red lentils", "boil", 30), ("flat bread", "flour", "bake", 15), ("rice pudding", "rice", "simmer", 45),
    ("tomato salad", "tomatoes", "slice", 10), ("bean stew", "white beans", "stew", 90), ("apple crumble", "apples", "bake", 50),
    ("onion tart", "onions", "bake", 55), ("noodle broth", "noodles", "boil", 20), ("potato gratin", "potatoes", "bake", 70),
    ("mushroom omelette", "eggs", "fry", 12), ("fish curry", "cod", "simmer", 35), ("carrot cake", "carrots", "bake", 60),
]
DEVICES = [
    ("smart thermostat", "keeps rooms at the wanted temperature", "Wi-Fi", "actuator"),
    ("motion sensor", "notices when somebody moves", "Zigbee", "sensor"),
    ("door contact", "tells whether a door is open", "Zigbee", "sensor"),
    ("smart plug", "switches and meters an appliance", "Wi-Fi", "actuator"),
    ("leak detector", "warns of water on the floor", "Thread", "sensor"),
    ("smart lock", "bolts the front door by code or phone", "Bluetooth", "actuator"),
    ("dimmable bulb", "changes the brightness of a lamp", "Thread", "actuator"),
    ("security camera", "streams video of the entrance", "Wi-Fi", "sensor"),
    ("smoke detector", "sounds an alarm when it smells smoke", "Thread", "sensor"),
    ("blind motor", "raises and lowers blinds", "Zigbee", "actuator"),
    ("soil moisture probe", "measures how dry a flower bed is", "LoRa", "sensor"),
    ("radiator valve", "lets warm water into a radiator", "Zigbee", "actuator"),
    ("air quality monitor", "measures dust and carbon dioxide", "Wi-Fi", "sensor"),
    ("irrigation valve", "waters the garden on command", "LoRa", "actuator"),
]
PEOPLE = ["Amara", "Bjorn", "Carmen", "Dinesh", "Elif", "Farid", "Gwen", "Hugo", "Ines", "Jamal", "Katya", "Luca", "Mei", "Nadia"]
HOBBIES = [
    "chess", "pottery", "rowing", "birdwatching", "knitting", "astronomy", "beekeeping", "climbing", "calligraphy", "gardening",
    "home automation", "fencing", "origami", "sailing", "woodwork", "soldering sensors", "photography", "folk dancing",
]
TOOLS = ["hammer", "saw", "chisel", "drill", "plane", "wrench", "pliers", "file"]
CLOTHES = ["scarf", "jacket", "sandal", "glove", "shirt", "hat", "sock", "apron"]
ADVICE = [
    "begin with small steps", "ask somebody with experience", "keep notes of what worked", "set aside a fixed hour",
    "read the manual first", "compare two or three offers", "try it with borrowed equipment", "change one thing at a time",
    "write down the goal", "join a local club", "take a break when it stops being fun", "check the result after a week",
]
HOME_ADVICE = [
    "put smart devices on a network of their own", "change every default password", "choose a hub that works without the cloud",
    "install firmware updates soon", "give each sensor a clear name", "test the leak alarm twice a year",
    "let the thermostat lower the heating at night", "keep a manual switch for every lamp",
    "place the router in the middle of the home", "measure standby power with a smart plug",
]
THEMES = ["a lighthouse keeper", "a clock that runs backwards", "the last train", "a talking thermostat", "snow in July", "a lost umbrella"]
